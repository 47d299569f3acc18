"""Pictures in memory and pictures in files behave alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data.datasets import Split, fingerprint_of
from edgecil.errors import ImageError
from edgecil_devices.images import Pixels, Preprocessing

LABELS = np.array([2, 0, 1, 1], dtype=np.int64)


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(params=["memory", "files"])
def split(request: pytest.FixtureRequest, pixels: Pixels, tmp_path: Path) -> Split:
    if request.param == "memory":
        return Split(pixels, LABELS, Preprocessing(8))
    paths = tuple(tmp_path / f"{index}.png" for index in range(4))
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    return Split(paths, LABELS, Preprocessing(8))


def test_all_or_chosen_pictures_come_in_the_order_asked_for(split: Split, pixels: Pixels) -> None:
    assert len(split) == 4
    assert np.array_equal(split.pixels(), pixels)
    assert np.array_equal(split.pixels(np.array([3, 1, 3])), pixels[[3, 1, 3]])
    assert split.pixels(np.array([], dtype=np.int64)).shape == (0, 8, 8, 3)


def test_subset_keeps_labels_with_pictures(split: Split, pixels: Pixels) -> None:
    subset = split.subset([2, 0])
    assert subset.labels.tolist() == [1, 2]
    assert np.array_equal(subset.pixels(), pixels[[2, 0]])
    assert len(split.subset([])) == 0


def test_file_that_vanished_is_named(tmp_path: Path) -> None:
    split = Split((tmp_path / "gone.png",), LABELS[:1], Preprocessing(8))
    with pytest.raises(ImageError, match=r"gone\.png"):
        split.pixels()


def test_fingerprint_changes_with_everything_that_is_learned_from(pixels: Pixels) -> None:
    split = Split(pixels, LABELS, Preprocessing(8))
    other_pixels = pixels.copy()
    other_pixels[3, 7, 7, 2] ^= 1
    fingerprints = [
        fingerprint_of("abc", split),
        fingerprint_of("abd", split),
        fingerprint_of("abc", replace(split, images=other_pixels)),
        fingerprint_of("abc", replace(split, labels=LABELS[::-1])),
        fingerprint_of("abc", replace(split, preprocessing=Preprocessing(16))),
        fingerprint_of("abc", split, split),
        fingerprint_of("abc", split, digests=["0"]),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert (
        fingerprint_of("abc", Split(pixels.copy(), LABELS.copy(), Preprocessing(8)))
        == (fingerprints[0])
    )
