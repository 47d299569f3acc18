"""Pictures of files, whole and squeezed, and as a test sees them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data.folder import load_folder
from edgecil.pictures.sequences import JoinedPictures, SeenInTest
from edgecil_devices.images import Preprocessing, read_pixels

SIDES = ((300, 200), (90, 240), (100, 100), (720, 80))
"""Width and height of the pictures of a folder."""


def smooth(width_px: int, height_px: int) -> Image.Image:
    """Waves that shrinking leaves as they are."""
    x, y = np.meshgrid(np.linspace(0, 1, width_px), np.linspace(0, 1, height_px))
    waves = [np.sin(5 * x), np.cos(4 * y), np.sin(3 * (x + y))]
    return Image.fromarray((127 + 100 * np.stack(waves, axis=2)).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side: what is 300 wide stands 300 high
    for name, colour in (("cats", "red"), ("dogs", "blue")):
        for split in ("train", "val"):
            (tmp_path / split / name).mkdir(parents=True)
        pictures = [*(smooth(*sides) for sides in SIDES), smooth(300, 200)]
        for number, picture in enumerate(pictures):
            picture.putpixel((0, 0), (number, number, ord(name[0])))  # no two are the same
            exif = turned if number == len(SIDES) else None
            picture.save(tmp_path / "train" / name / f"{number}.png", exif=exif)
        Image.new("RGB", (90, 80), colour).save(tmp_path / "val" / name / "0.png")
    return tmp_path


def test_large_training_pictures_come_whole_with_their_upright_aspects(folder: Path) -> None:
    dataset, _ = load_folder(folder, image_size_px=72, shorter_side_px=80)
    cats = dataset.train.subset(np.flatnonzero(dataset.train.labels == 0))
    assert cats.aspects is not None
    expected = [width / height for width, height in (*SIDES, (200, 300))]
    np.testing.assert_allclose(cats.aspects, expected, rtol=1e-6)
    for pixels, sides in zip(cats.pixels(), SIDES, strict=False):
        squeezed = np.array(smooth(*sides).resize((72, 72), Image.Resampling.BILINEAR))
        assert np.abs(pixels.astype(int) - squeezed)[2:, 2:].max() <= 1
    assert dataset.test.aspects is None
    assert cats.subset([1, 0]).aspects.tolist() == cats.aspects[[1, 0]].tolist()  # type: ignore[union-attr]


def test_up_to_64_pixels_training_pictures_are_centre_squares(folder: Path) -> None:
    dataset, _ = load_folder(folder, image_size_px=64, shorter_side_px=72)
    assert dataset.train.aspects is None
    path = folder / "train" / "cats" / "0.png"
    np.testing.assert_array_equal(
        dataset.train.pixels([0])[0], read_pixels(path, Preprocessing(64))
    )


@pytest.mark.parametrize("shorter_side_px", [None, 80, 96])
def test_a_squeezed_picture_is_seen_as_the_test_sees_its_file(
    folder: Path, shorter_side_px: int | None
) -> None:
    rule = Preprocessing(72, shorter_side_px=shorter_side_px)
    dataset, _ = load_folder(folder, image_size_px=72, shorter_side_px=shorter_side_px)
    seen = SeenInTest(dataset.train, rule)
    assert len(seen) == len(dataset.train)
    assert isinstance(dataset.train.images, tuple)
    for pixels, path in zip(seen.pixels(), dataset.train.images, strict=True):
        expected = read_pixels(path, rule).astype(int)
        assert np.abs(pixels - expected)[2:, 2:].mean() < 1.5
        assert np.abs(pixels - expected)[3:-3, 3:-3].max() <= 8  # a strip has 8 pixels to show
    some = np.array([3, 0])
    np.testing.assert_array_equal(seen.pixels(some), seen.pixels()[some])


def test_what_comes_as_the_test_sees_it_stays_so(folder: Path) -> None:
    dataset, _ = load_folder(folder, image_size_px=72, shorter_side_px=80)
    seen = SeenInTest(dataset.test, dataset.test.preprocessing)
    np.testing.assert_array_equal(seen.pixels(), dataset.test.pixels())


def test_joined_pictures_have_the_aspects_of_their_parts(folder: Path) -> None:
    dataset, _ = load_folder(folder, image_size_px=72)
    joined = JoinedPictures(dataset.test, dataset.train)
    assert dataset.train.aspects is not None
    assert joined.aspects is not None
    assert joined.aspects.tolist() == [1.0, 1.0, *dataset.train.aspects.tolist()]
    assert JoinedPictures(dataset.test, dataset.test).aspects is None


@pytest.mark.parametrize("sides", [(1, 200_000), (200_000, 1), (1, 1)])
def test_a_strip_is_squeezed_in_little_memory(tmp_path: Path, sides: tuple[int, int]) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "strips").mkdir(parents=True)
        colour = {"train": (200, 100, 50), "val": (1, 2, 3)}[split]
        Image.new("RGB", sides, colour).save(tmp_path / split / "strips" / "0.png")
    dataset, _ = load_folder(tmp_path, image_size_px=72, shorter_side_px=80)
    assert (dataset.train.pixels()[0] == (200, 100, 50)).all()
    assert (
        SeenInTest(dataset.train, dataset.test.preprocessing).pixels()[0] == (200, 100, 50)
    ).all()
