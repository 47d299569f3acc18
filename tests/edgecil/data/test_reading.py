"""Photos of a folder: seen as the device sees them, few of them decoded at the same time."""

import io
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil.data import reading
from edgecil.data.folder import load_folder
from edgecil.data.reading import squeezed, within_room
from edgecil.errors import ImageError
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import EncodedPictures
from edgecil.pictures.sequences import JoinedPictures
from edgecil_devices import decoders
from edgecil_devices.decoders import NEEDS_HEIC
from edgecil_devices.images import Preprocessing, read_pixels
from edgecil_devices.parallel_reading import Room
from edgecil_devices.preprocessing import AS_STORED, FOR_PHOTOS


def photo(path: Path, seed: int, size: tuple[int, int] = (1203, 907), **options: Any) -> Path:
    """A smooth picture of many colours as a JPEG."""
    draw = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(draw).resize(size, Image.Resampling.BICUBIC)
    image.save(path, "JPEG", quality=90, **options)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        photo(tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
    return tmp_path / "photos"


def test_a_squeezed_photo_at_a_smaller_scale_is_nearly_the_squeezed_whole(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        path = photo(tmp_path / "photo.jpg", 1, exif=exif)
        small, whole = (
            squeezed(path, Preprocessing(96, reading=how)).astype(int)
            for how in (FOR_PHOTOS, AS_STORED)
        )
        assert np.abs(small - whole).mean() < 0.8
        assert np.abs(small - whole).max() <= 8


def test_training_and_the_device_see_the_same_test_pictures(photos: Path) -> None:
    dataset, _ = load_folder(photos, image_size_px=48, shorter_side_px=56)
    rule = Preprocessing(48, shorter_side_px=56, reading=FOR_PHOTOS)
    assert dataset.test.preprocessing == rule
    assert isinstance(dataset.test.images, tuple)
    on_device = [read_pixels(path, rule) for path in dataset.test.images]
    assert np.array_equal(dataset.test.pixels(), np.stack(on_device))


def test_a_bundle_from_before_is_measured_on_pictures_as_it_sees_them(photos: Path) -> None:
    dataset, _ = load_folder(photos, image_size_px=48, reading=AS_STORED)
    assert isinstance(dataset.test.images, tuple)
    on_device = [read_pixels(path, Preprocessing(48)) for path in dataset.test.images]
    assert np.array_equal(dataset.test.pixels(), np.stack(on_device))


def test_a_folder_is_looked_at_without_decoding_whole_photos(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    load = Image.Image.load

    def noting(image: Image.Image) -> Any:
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(Image.Image, "load", noting)
    assert load_folder(photos, image_size_px=48)[1].used == 6
    assert max(map(max, sizes)) == 151  # an eighth of 1203


def test_sizes_and_aspects_are_those_of_whole_upright_photos(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for number in range(4):
        photo(tmp_path / "cat" / f"{number}.jpg", number, (1200, 100), exif=exif)
    dataset, _ = load_folder(tmp_path)
    assert dataset.image_size_px == 96
    assert dataset.train.aspects is not None
    assert dataset.train.aspects.tolist() == pytest.approx([1 / 12] * 3)


def test_photos_are_decoded_side_by_side_only_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_room", Room(64 * 64 * 2))
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    lock, at_work, most = threading.Lock(), 0, 0

    def read(data: bytes) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1
        return len(data)

    threads = [threading.Thread(target=within_room, args=(path, None, read)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_what_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        squeezed(path, Preprocessing(96))
    assert str(caught.value).count("a.jpg") == 1


def test_all_classes_joined_are_what_each_is(photos: Path) -> None:
    dataset, _ = load_folder(photos, image_size_px=72)
    splits = [dataset.train.subset(np.flatnonzero(dataset.train.labels == c)) for c in (0, 1)]
    joined = JoinedPictures(*splits)
    assert np.array_equal(joined.pixels(), np.concatenate([one.pixels() for one in splits]))


@pytest.mark.parametrize("codec", ["raw", "webp:80", "jpeg:70"])
def test_exemplars_of_photos_are_encoded_at_the_trained_size(codec: str, photos: Path) -> None:
    dataset, _ = load_folder(photos, image_size_px=72)
    encoded = EncodedPictures.of(dataset.train, codec_named(codec))
    assert encoded.pixels().shape == (4, 72, 72, 3)
    assert encoded.payloads == codec_named(codec).encode_many(dataset.train.pixels())
    assert encoded.aspects is not None


def test_heic_without_its_package_is_one_line_of_the_report(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        start = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes([number])
        (photos / "cat" / f"{number}.heic").write_bytes(start)
    (photos / "dog" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.setattr(decoders, "_reads_heif", lambda: False)
    report = load_folder(photos, image_size_px=72)[1]
    assert report.used == 6
    assert len(report.damaged) == 4
    told = report.lines()
    assert told[0] == f"{photos}: 3 pictures left out: {NEEDS_HEIC}"
    assert told[1] == f"{photos}: 1 damaged, left out"
    assert len(told) == 3


def test_heic_and_avif_photos_are_learned_from(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    if not (decoders._reads_heif() and decoders._reads_avif()):
        pytest.skip("Pillow was built without AVIF")
    for number in range(4):
        kind, ending = (("HEIF", "HEIC"), ("AVIF", "avif"))[number % 2]
        stream = io.BytesIO()
        Image.new("RGB", (96, 80), (60 * number, 90, 90)).save(stream, kind, quality=90)
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / f"{number}.{ending}").write_bytes(stream.getvalue())
    dataset, report = load_folder(tmp_path)
    assert (report.used, dataset.image_size_px) == (4, 80)
    assert dataset.train.pixels().shape == (3, 80, 80, 3)
