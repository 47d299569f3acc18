"""Test pictures pass a trunk that never learns once in a run, and are told the same."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecil.evaluation.accuracy import predicted_labels
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import PlainImages, ResidentImages
from edgecil.training import known_maps
from edgecil.training.feature_maps import PORTION
from edgecil.training.known_maps import KnownMaps

CPU = torch.device("cpu")
COUNT = 75
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
LABELS = np.arange(COUNT) % 5


class Seen:
    """A network whose trunk never learns, and how many batches passed it."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        parts = cut_backbone("convnet2")
        self.network = ExpandableNetwork(parts, 5, mean=(0.5,) * 3, std=(0.2,) * 3).eval()
        self.network.frozen_trunk = True
        self.portions = 0
        self.network.trunk.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.portions += 1

    def told(self, known: KnownMaps | None, count: int) -> list[int]:
        """The labels of the first `count` pictures, with what is known or, if None, without."""
        images = ResidentImages(PIXELS[:count], LABELS[:count], CPU, mirrors=False)
        shown: PlainImages = images
        if known is not None:
            shown = known.of(self.network, images, torch.from_numpy(LABELS[:count]))
        return list(predicted_labels(self.network, shown))


def test_only_pictures_that_are_new_pass_the_trunk() -> None:
    seen, known = Seen(), KnownMaps()
    expected = seen.told(None, COUNT)
    seen.portions = 0
    for count, passed in ((40, 2), (40, 0), (COUNT, 2), (20, 0), (COUNT, 0)):  # portions of 32
        before = seen.portions
        assert seen.told(known, count) == expected[:count]
        assert seen.portions - before == passed
    assert PORTION == 32


def test_batches_are_the_maps_and_labels_of_all_pictures_in_their_order() -> None:
    seen, known = Seen(), KnownMaps()
    images = ResidentImages(PIXELS, LABELS, CPU, mirrors=False)
    (pixels,) = (pixels for pixels, _ in images.plain_batches(COUNT))
    with torch.inference_mode():
        maps = seen.network.feature_map(pixels)
        for _ in range(2):
            shown = known.of(seen.network, images, torch.from_numpy(LABELS))
            batches = list(shown.plain_batches(30))
            found = torch.cat([one.as_subclass(Tensor) for one, _ in batches])
            torch.testing.assert_close(found, maps, rtol=1e-5, atol=1e-5)
            assert torch.cat([labels for _, labels in batches]).tolist() == LABELS.tolist()
    assert len(shown) == COUNT


def test_another_trunk_is_asked_anew() -> None:
    known, first, other = KnownMaps(), Seen(0), Seen(1)
    first.told(known, COUNT)
    assert other.told(known, COUNT) == other.told(None, COUNT)
    assert other.portions > 0


def test_maps_that_do_not_fit_are_not_kept() -> None:
    seen, known = Seen(), KnownMaps()
    with patch.object(known_maps, "resident_limit_bytes", lambda device: 0):
        told = [seen.told(known, COUNT) for _ in range(2)]
    assert told == [seen.told(None, COUNT)] * 2
    assert seen.portions == 3 + 3 + 1  # three portions each time, and one batch without


@pytest.mark.parametrize("cut", ["last", "whole"])
def test_pictures_stay_pictures_where_the_trunk_learns_or_is_empty(cut: str) -> None:
    parts = cut_backbone("convnet2", cut)
    net = ExpandableNetwork(parts, 5, mean=(0.5,) * 3, std=(0.2,) * 3)
    net.frozen_trunk = cut == "whole"
    images = ResidentImages(PIXELS, LABELS, CPU, mirrors=False)
    assert KnownMaps().of(net, images, torch.from_numpy(LABELS)) is images
