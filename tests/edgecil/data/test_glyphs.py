"""Glyphs are the same for the same seed, and can be told apart."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageFont

from edgecil.data.glyphs import CLASSES, load_glyphs
from edgecil.errors import DataError, UsageError
from edgecil_devices.images import Pixels


def test_there_are_at_least_sixty_classes_with_names_safe_for_folders() -> None:
    assert len(CLASSES) >= 60
    assert len({name.lower() for name in CLASSES}) == len(CLASSES)
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in CLASSES)


def test_shapes_labels_and_counts() -> None:
    glyphs = load_glyphs(train_per_class=3, test_per_class=2)
    assert glyphs.train.pixels().shape == (3 * len(CLASSES), 32, 32, 3)
    assert glyphs.train.pixels().dtype == np.uint8
    assert np.bincount(glyphs.train.labels).tolist() == [3] * len(CLASSES)
    assert np.bincount(glyphs.test.labels).tolist() == [2] * len(CLASSES)
    assert glyphs.classes == CLASSES
    assert not glyphs.mirrors


def test_same_seed_same_pictures_and_another_seed_others() -> None:
    first, again, other = (
        load_glyphs(train_per_class=1, test_per_class=1, seed=seed) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.train.pixels(), again.train.pixels())
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert not np.array_equal(first.train.pixels(), other.train.pixels())


def test_more_pictures_begin_with_the_same_ones() -> None:
    few = load_glyphs(train_per_class=1, test_per_class=1)
    more = load_glyphs(train_per_class=3, test_per_class=2)
    assert np.array_equal(more.train.pixels()[::3], few.train.pixels())
    assert np.array_equal(more.test.pixels()[::2], few.test.pixels())


def test_test_pictures_are_not_training_pictures() -> None:
    glyphs = load_glyphs(train_per_class=2, test_per_class=2)
    assert not np.array_equal(glyphs.train.pixels(), glyphs.test.pixels())
    everything = np.concatenate([glyphs.train.pixels(), glyphs.test.pixels()])
    assert len(np.unique(everything.reshape(len(everything), -1), axis=0)) == len(everything)


def test_other_sizes_are_drawn() -> None:
    glyphs = load_glyphs(train_per_class=1, test_per_class=1, image_size_px=48)
    assert glyphs.image_size_px == 48
    assert glyphs.test.pixels().shape[1:] == (48, 48, 3)


def test_every_picture_shows_two_colours_that_differ_in_brightness() -> None:
    pixels = load_glyphs(train_per_class=2, test_per_class=1).train.pixels().astype(float)
    grey = pixels @ [0.299, 0.587, 0.114]
    corner = grey[:, :3, :3].mean(axis=(1, 2))  # ground: no glyph reaches into the corner
    smooth = sum(np.roll(grey, (y, x), (1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
    furthest = np.abs(smooth - corner[:, None, None]).max(axis=(1, 2))
    assert (furthest > 12).mean() > 0.97


@pytest.mark.parametrize("option", ["train_per_class", "test_per_class", "image_size_px", "seed"])
def test_numbers_out_of_range_are_refused(option: str) -> None:
    value = -1 if option == "seed" else 0
    with pytest.raises(UsageError):
        load_glyphs(**{option: value})


def test_old_pillow_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_default() -> None:  # as before Pillow 10.1: it takes no size
        raise AssertionError

    monkeypatch.setattr(ImageFont, "load_default", load_default)
    with pytest.raises(DataError, match="pip install -U pillow"):
        load_glyphs(train_per_class=1, test_per_class=1)


def test_glyphs_are_neither_trivial_nor_noise() -> None:
    """Nearest neighbours of blurred shapes: far above chance (1.6 %), and far from perfect."""
    glyphs = load_glyphs(train_per_class=40, test_per_class=3)

    def shapes(pixels: Pixels) -> npt.NDArray[np.float32]:
        values = pixels.astype(np.float32).reshape(len(pixels), 32 * 32, 3)
        values -= np.median(values, axis=1, keepdims=True)  # ground becomes zero
        ink = np.abs(values).mean(axis=2).reshape(-1, 32, 32)
        around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        ink = np.mean([np.roll(ink, offset, (1, 2)) for offset in around], axis=0)
        flat = ink.reshape(len(ink), -1) - ink.mean(axis=(1, 2))[:, None]
        return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))

    nearest = (shapes(glyphs.test.pixels()) @ shapes(glyphs.train.pixels()).T).argmax(axis=1)
    accuracy = (glyphs.train.labels[nearest] == glyphs.test.labels).mean()
    assert 0.2 < accuracy < 0.6
