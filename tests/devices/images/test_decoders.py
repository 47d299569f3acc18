"""HEIC and AVIF are read where their decoders are, and large JPEGs at a smaller scale."""

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from edgecil_devices import decoders, sources
from edgecil_devices.av1 import coded_pixels
from edgecil_devices.decoders import NEEDS_AVIF, NEEDS_HEIC, decoding_pixels, suffix_of
from edgecil_devices.errors import ImageError
from edgecil_devices.images import look_at, read_image, read_pixels
from edgecil_devices.picture_files import is_picture_file
from edgecil_devices.preprocessing import AS_STORED, FOR_PHOTOS, Preprocessing

# A red corner, so that every orientation looks different.
MARKED = np.full((48, 64, 3), 255, dtype=np.uint8)
MARKED[:24, :24] = (255, 0, 0)


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
        assert decoders._reads_heif()
    if kind == "AVIF" and not decoders._reads_avif():
        pytest.skip("Pillow was built without AVIF")
    stream = io.BytesIO()
    (image or Image.fromarray(MARKED)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Whether a decoder is there is asked anew."""
    for asked in (decoders._reads_heif, decoders._reads_avif):
        asked.cache_clear()
    yield
    for asked in (decoders._reads_heif, decoders._reads_avif):
        asked.cache_clear()


# HEIC and AVIF


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_picture_comes_back_nearly(kind: str) -> None:
    read = np.asarray(read_image(saved(kind, quality=90)), dtype=int)
    assert np.abs(read - MARKED).mean() < 3


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_picture_is_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    read = np.asarray(read_image(saved(kind, exif=exif.tobytes(), quality=90)), dtype=int)
    turns = {3: 2, 6: -1, 8: 1}[orientation]
    assert np.abs(read - np.rot90(MARKED, turns)).mean() < 3
    assert look_at(saved(kind, exif=exif.tobytes())) == (read.shape[1], read.shape[0])


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_file_is_known_by_its_beginning(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(kind))
    assert is_picture_file(path)
    path.write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42")
    assert not is_picture_file(path)
    with pytest.raises(ImageError, match="this is no JPEG"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif", "a.avif"])
def test_a_file_counts_by_its_ending(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert is_picture_file(tmp_path / name)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_damaged_and_cut_files_are_refused_in_one_line(kind: str) -> None:
    data = saved(kind)
    for length in (17, len(data) // 3, len(data) - 40):
        with pytest.raises(ImageError) as caught:
            read_image(data[:length])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_altered_bytes_give_a_picture_or_an_image_error(kind: str) -> None:
    data, draw = saved(kind), np.random.default_rng(0)
    for _ in range(150):
        altered = bytearray(data)
        for place in draw.integers(0, len(data), 3):
            altered[place] = draw.integers(256)
        outcome: Image.Image | ImageError
        try:
            outcome = read_image(bytes(altered))
        except ImageError as error:
            outcome = error
        if isinstance(outcome, ImageError):
            assert "\n" not in str(outcome)
        else:
            assert outcome.mode == "RGB"


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_too_large_a_picture_is_refused_before_it_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(kind)
    monkeypatch.setattr(decoders, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(ImageError, match="3,071 allowed"):
        read_image(data)


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The same file saying that its picture has another size (the box `ispe`)."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_small_size_in_front_of_a_large_stream_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = with_size(saved(kind, Image.new("RGB", (1200, 900), "red"), quality=20), 30, 30)
    monkeypatch.setattr(decoders, "MAX_PIXELS", 1_000_000)
    with pytest.raises(ImageError):
        read_image(bomb)


@pytest.mark.parametrize("size", [(64, 64), (301, 203), (1200, 900)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_stream_of_av1_tells_its_size(size: tuple[int, int], mode: str) -> None:
    data = saved("AVIF", Image.new(mode, size), speed=10)
    assert coded_pixels(data) == size[0] * size[1]
    assert coded_pixels(with_size(data, 30, 30)) == size[0] * size[1]


def test_a_stream_that_hides_its_size_is_refused() -> None:
    data = saved("AVIF")
    head = data.index(b"\x12\x00\x0a")  # a temporal delimiter, then the sequence header
    hidden = data[: head + 2] + b"\x7a" + data[head + 3 :]  # as a unit of padding
    with pytest.raises(ImageError, match="damaged"):
        read_image(hidden)


def test_a_film_in_avif_is_refused() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    data = saved("AVIF", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="film"):
        read_image(data)


@pytest.mark.usefixtures("forgetful")
def test_without_pillow_heif_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(saved("HEIF"))
    decoders._reads_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: {NEEDS_HEIC}"
    assert "pip install 'edgecil[heic]'" in NEEDS_HEIC
    found = list(sources.pictures_of([str(tmp_path)], None, io.BytesIO))
    assert [one.name for one in found] == [str(path)]


@pytest.mark.usefixtures("forgetful")
def test_without_avif_in_pillow_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("AVIF")
    decoders._reads_avif.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    with pytest.raises(ImageError) as caught:
        read_image(data)
    assert str(caught.value) == NEEDS_AVIF


# A smaller scale


def photo(width: int, height: int, **options: Any) -> bytes:
    """A smooth picture of many colours as a JPEG."""
    draw = np.random.default_rng(width).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(draw).resize((width, height), Image.Resampling.BICUBIC)
    return saved("JPEG", image, **{"quality": 92} | options)


def rule(size_px: int, reading: str = FOR_PHOTOS, margin: int | None = None) -> Preprocessing:
    return Preprocessing(size_px, reading=reading, shorter_side_px=margin)


@pytest.mark.parametrize(
    ("width", "height", "size_px", "scale"),
    [
        (127, 200, 32, 1),
        (128, 200, 32, 2),
        (255, 300, 32, 2),
        (600, 256, 32, 4),
        (511, 600, 32, 4),
        (512, 600, 32, 8),
        (4000, 512, 32, 8),
    ],
)
def test_at_least_twice_the_size_is_left(width: int, height: int, size_px: int, scale: int) -> None:
    read = read_image(photo(width, height), rule(size_px))
    assert read.size == (-(-width // scale), -(-height // scale))
    assert min(read.size) >= min(2 * size_px, width, height)


def test_a_margin_wants_a_larger_scale() -> None:
    data = photo(448, 448)
    assert read_image(data, rule(56)).width == 112
    assert read_image(data, rule(56, margin=64)).width == 224


def test_a_turned_photo_is_made_smaller_and_turned() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = photo(600, 400, exif=exif)
    assert read_image(data, rule(32)).size == (100, 150)
    assert look_at(data) == (400, 600)


def test_photos_of_several_pictures_are_made_smaller_too() -> None:
    """As telephones save them: MPO, a JPEG that more JPEGs follow."""
    first, second = (Image.open(io.BytesIO(photo(512, 512))) for _ in range(2))
    stream = io.BytesIO()
    first.save(stream, "MPO", save_all=True, append_images=[second])
    assert read_image(stream.getvalue(), rule(32)).size == (64, 64)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_are_read_whole(kind: str) -> None:
    data = saved(kind, Image.new("RGB", (512, 512)))
    assert read_image(data, rule(32)).size == (512, 512)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1203, 1607), (519, 905)])
def test_a_smaller_scale_changes_little_of_what_the_network_sees(
    width: int, height: int, orientation: int
) -> None:
    """Also where the sides are no multiples of the scale: nothing moves or is stretched."""
    exif = Image.Exif()
    exif[274] = orientation
    data = photo(width, height, exif=exif)
    for asked in (rule(32), rule(96), rule(56, margin=64)):
        whole = Preprocessing(asked.image_size_px, shorter_side_px=asked.shorter_side_px)
        apart = np.abs(read_pixels(data, asked).astype(int) - read_pixels(data, whole))
        assert apart.mean() < 0.8
        assert apart.max() <= 8


def test_bundles_from_before_read_whole_pictures_to_the_bit() -> None:
    """As they were read then: decoded whole, the centre square resized at once."""
    data = photo(700, 513)
    with Image.open(io.BytesIO(data)) as image:
        left = (700 - 513) // 2
        then = image.resize((32, 32), Image.Resampling.BILINEAR, box=(left, 0, left + 513, 513))
    assert np.array_equal(read_pixels(data, rule(32, AS_STORED)), np.asarray(then))


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (127, 127)])
def test_small_pictures_are_read_to_the_bit_as_before(size: tuple[int, int]) -> None:
    data = photo(*size)
    assert np.array_equal(read_pixels(data, rule(32)), read_pixels(data, rule(32, AS_STORED)))


def test_a_given_image_is_not_made_smaller() -> None:
    with Image.open(io.BytesIO(photo(512, 512))) as image:
        assert read_image(image, rule(32)).size == (512, 512)
        assert image.size == (512, 512)


def test_a_cut_photo_is_damaged_at_any_scale() -> None:
    data = photo(800, 600)
    for length in (len(data) // 2, len(data) * 9 // 10):
        for read in (look_at, lambda cut: read_image(cut, rule(32))):
            with pytest.raises(ImageError, match="damaged"):
                read(data[:length])


def test_room_is_asked_for_what_is_decoded() -> None:
    assert decoding_pixels(photo(512, 512), rule(32)) == 512 * 512 // 64
    assert decoding_pixels(photo(512, 512)) == 512 * 512 // 64
    assert decoding_pixels(photo(512, 512), rule(32, AS_STORED)) == 512 * 512
    assert decoding_pixels(photo(512, 512, progressive=True), rule(32)) == 512 * 512 // 2
    assert decoding_pixels(saved("PNG", Image.new("RGB", (512, 512))), rule(32)) == 512 * 512
    assert decoding_pixels(b"nonsense") == 0


def test_a_picture_that_is_too_large_still_says_how_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would count as none, and be read beside others that fill the memory."""
    monkeypatch.setattr(decoders, "MAX_PIXELS", 300)
    data = saved("PNG", Image.new("RGB", (20, 20)))
    assert decoding_pixels(data) == 400
    with pytest.raises(ImageError, match="more pixels than the 300 allowed"):
        read_image(data)


def test_pillow_still_calls_an_opened_photo_what_is_asked_for() -> None:
    with Image.open(io.BytesIO(photo(64, 64))) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("GIF", ".gif"), ("BMP", ".bmp")],
)
def test_a_picture_says_what_its_name_should_end_in(kind: str, suffix: str) -> None:
    assert suffix_of(saved(kind, Image.new("RGB", (8, 8)))) == suffix


def test_boxes_of_telephones_are_told_apart() -> None:
    heads = {b"heic": ".heic", b"mif1": ".heic", b"avif": ".avif"}
    for brand, suffix in heads.items():
        assert suffix_of(struct.pack(">I", 16) + b"ftyp" + brand + bytes(4)) == suffix
