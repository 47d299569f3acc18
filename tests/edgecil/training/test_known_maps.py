"""Test pictures pass a trunk that never learns once in a run, and are told the same."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecil.data import Split
from edgecil.evaluation.accuracy import predicted_labels
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import Images, PlainImages, ResidentImages
from edgecil.training import known_maps
from edgecil.training.feature_maps import LARGEST_PORTION
from edgecil.training.known_maps import KnownMaps
from edgecil.training.run_data import Labelled
from edgecil_devices.images import Preprocessing

CPU = torch.device("cpu")
COUNT = 75
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
LABELS = np.arange(COUNT) % 5


TEST = Labelled(Split(PIXELS, LABELS, Preprocessing(32)), LABELS)


def first(count: int) -> Labelled:
    return Labelled(Split(PIXELS[:count], LABELS[:count], Preprocessing(32)), LABELS[:count])


def on_cpu(test: Labelled) -> Images:
    return ResidentImages(test.pictures.pixels(), test.labels, CPU, mirrors=False)


class Seen:
    """A network whose trunk never learns, and how many batches passed it and its block."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        parts = cut_backbone("convnet2")
        self.network = ExpandableNetwork(parts, 5, mean=(0.5,) * 3, std=(0.2,) * 3).eval()
        self.network.frozen_trunk = True
        self.portions, self.pictures, self.of_block = 0, 0, 0
        self.network.trunk.register_forward_hook(self._count)
        self.network.blocks[0].register_forward_hook(self._count_block)

    def _count(self, *_: object) -> None:
        self.portions += 1

    def _count_block(self, *_: object) -> None:
        self.of_block += 1

    def _images(self, test: Labelled) -> Images:
        self.pictures += len(test.labels)
        return on_cpu(test)

    def told(self, known: KnownMaps | None, count: int) -> list[int]:
        """The labels of the first `count` pictures, with what is known or, if None, without."""
        shown: PlainImages = on_cpu(first(count))
        if known is not None:
            shown = known.of(self.network, first(count), self._images)
        return list(predicted_labels(self.network, shown))


def test_only_pictures_that_are_new_are_decoded_and_pass_trunk_and_block() -> None:
    seen, known = Seen(), KnownMaps()
    expected = seen.told(None, COUNT)
    for count, new in ((40, 40), (40, 0), (COUNT, COUNT - 40), (20, 0), (COUNT, 0)):
        before = seen.portions, seen.pictures, seen.of_block
        assert seen.told(known, count) == expected[:count]
        assert seen.pictures - before[1] == new
        portions = -(-new // 32)
        assert (seen.portions - before[0], seen.of_block - before[2]) == (portions, portions)
    assert LARGEST_PORTION == 32


def test_a_block_that_is_new_is_asked_of_all_pictures_and_an_old_one_of_none() -> None:
    known, again = KnownMaps(), Seen()
    Seen().told(known, COUNT)
    # As it is read from the state again, with a block more, which stands first.
    old, new = again.network.blocks[0], Seen(3).network.blocks[0]
    again.network.blocks = torch.nn.ModuleList([new, old])
    again.network.grow_head(5)
    asked: list[int] = []
    new.register_forward_hook(lambda _module, maps, _features: asked.append(len(maps[0])))
    told = again.told(known, COUNT)
    assert (again.pictures, again.of_block, asked) == (0, 0, [32, 32, 32])
    assert told == again.told(None, COUNT)


def test_batches_are_the_maps_and_labels_of_all_pictures_in_their_order() -> None:
    seen, known = Seen(), KnownMaps()
    (pixels,) = (pixels for pixels, _ in on_cpu(TEST).plain_batches(COUNT))
    with torch.inference_mode():
        maps = seen.network.feature_map(pixels)
        for _ in range(2):
            shown = known.of(seen.network, TEST, on_cpu)
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
    images = on_cpu(TEST)
    assert KnownMaps().of(net, TEST, lambda test: images) is images
