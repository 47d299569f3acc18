"""Views of a picture that are chosen once: itself, its mirror image, and crops."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from edgecil.pictures.batches import Images, ResidentImages, StreamedImages, pictures_at_once
from edgecil.pictures.policies import Augment, Policy

CPU = torch.device("cpu")
COUNT = 5
LABELS = np.array([3, 1, 0, 2, 1])


class Given:
    """Pictures of noise; large ones come whole, squeezed into the square."""

    def __init__(self, size_px: int, whole: bool) -> None:
        draw = np.random.default_rng(0)
        self._pixels = draw.integers(0, 256, (COUNT, size_px, size_px, 3), np.uint8)
        self.aspects = draw.uniform(0.5, 2, COUNT).astype(np.float32) if whole else None

    def __len__(self) -> int:
        return COUNT

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        return self._pixels if indices is None else self._pixels[indices]


def images_of(
    kind: str, size_px: int, whole: bool, *, mirrors: bool = True, brightens: bool = True
) -> Images:
    given, augment = Given(size_px, whole), Augment(Policy(), brightens)
    margin_px = size_px * 8 // 7 if whole else None
    made: Callable[..., Images] = partial(StreamedImages, given, LABELS, size_px, CPU, workers=0)
    if kind == "resident":
        made = partial(ResidentImages, given.pixels(), LABELS, CPU, aspects=given.aspects)
    return made(mirrors=mirrors, augment=augment, shorter_side_px=margin_px)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


kinds = pytest.mark.parametrize("kind", ["resident", "streamed"])
sizes = pytest.mark.parametrize(("size_px", "whole"), [(16, False), (80, False), (80, True)])


@kinds
@sizes
def test_the_first_views_are_what_a_test_sees_and_its_mirror_image(
    kind: str, size_px: int, whole: bool
) -> None:
    images = images_of(kind, size_px, whole)
    plain = torch.cat([pixels for pixels, _ in images.plain_batches(2)]).float()
    views = images.views(1, drawn())
    assert len(views) == 3 * COUNT
    shown = list(views.batches(torch.split(torch.arange(2 * COUNT), 4)))
    assert [len(pixels) for pixels in shown] == [4, 4, 2]
    found = torch.cat(shown)
    assert torch.equal(found[:COUNT], plain)
    # Where a picture is resized, the mirror's rounding may fall to the other side.
    assert float((found[COUNT:] - plain.flip(3)).abs().max()) <= (1 if whole else 0)
    assert views.labels.tolist() == LABELS.tolist()
    assert views.images_at(torch.tensor([1, COUNT + 1, 2 * COUNT + 4])).tolist() == [1, 1, 4]


@sizes
def test_crops_are_those_of_training_and_the_same_wherever_pictures_lie(
    size_px: int, whole: bool
) -> None:
    places = [torch.tensor([2 * COUNT + 3, 2 * COUNT, 3 * COUNT + 1])]
    (resident,), (streamed,) = (
        images_of(kind, size_px, whole).views(2, drawn(7)).batches(places)
        for kind in ("resident", "streamed")
    )
    assert torch.equal(resident, streamed)
    # As training draws the first crop of every picture, and then how bright it is.
    images = images_of("resident", size_px, whole, brightens=False)
    plain = torch.cat([pixels for pixels, _ in images.plain_batches(COUNT)])
    (bare,) = images.views(2, drawn(7)).batches(places)
    assert not torch.equal(bare, plain[[3, 0, 1]].float())
    assert not torch.equal(bare, resident)
    assert torch.equal(bare, bare.round())
    assert 0 <= float(bare.min()) < float(bare.max()) <= 255


def test_where_a_mirror_changes_the_class_there_is_no_mirrored_view() -> None:
    views = images_of("resident", 16, whole=False, mirrors=False).views(0, drawn())
    assert len(views) == COUNT


@pytest.mark.parametrize(
    ("size_px", "on_processor", "on_card"),
    [(32, 256, 256), (64, 64, 256), (96, 28, 174), (128, 16, 98), (224, 5, 32), (4000, 1, 1)],
)
def test_large_pictures_pass_a_network_in_smaller_portions(
    size_px: int, on_processor: int, on_card: int
) -> None:
    """Of 512 x 512 pixels, and of 32 pictures of 224 x 224."""
    assert pictures_at_once(size_px, CPU) == on_processor
    assert pictures_at_once(size_px, torch.device("cuda")) == on_card


def test_a_test_shows_as_many_as_that() -> None:
    images = images_of("resident", 80, whole=True)
    assert [len(labels) for _, labels in images.plain_batches(3)] == [3, 2]
    huge = ResidentImages(np.zeros((3, 1300, 1300, 3), np.uint8), np.arange(3), CPU, mirrors=True)
    assert [len(labels) for _, labels in huge.plain_batches(256)] == [1, 1, 1]
