"""A picture comes out upright, RGB and of the right colours, or it is refused in one line."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from edgecil_devices import images
from edgecil_devices.errors import BundleCorruptError, BundleVersionError, ImageError, UsageError
from edgecil_devices.images import Preprocessing, read_image, read_pixels, to_pixels

# A picture that looks different in each of its eight orientations: one red, one blue pixel.
MARKED = np.full((2, 3, 3), 255, dtype=np.uint8)
MARKED[0, 0], MARKED[0, 2] = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(height: int = 20, width: int = 30) -> Image.Image:
    """A smooth picture, so that lossy formats change it little."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 8, columns * 6, 255 - rows * 4 - columns * 2)
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def colour(image: Image.Image) -> tuple[int, ...]:
    """The colour of an image that has only one."""
    values = np.unique(np.asarray(image).reshape(-1, 3), axis=0)
    assert len(values) == 1
    return tuple(values[0].tolist())


def png_of(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG put together by hand: (width, height, bit depth, colour type) and its raw rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + start + data + chunk(b"IEND", b"")


# What is read


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    assert np.array_equal(np.asarray(read_image(encoded(picture(), kind))), np.asarray(picture()))


def test_webp_comes_back_exactly_when_lossless() -> None:
    if not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    data = encoded(picture(), "WEBP", lossless=True)
    assert np.array_equal(np.asarray(read_image(data)), np.asarray(picture()))


def test_jpeg_comes_back_nearly() -> None:
    read = np.asarray(read_image(encoded(picture(), "JPEG", quality=95)), dtype=int)
    assert np.abs(read - np.asarray(picture(), dtype=int)).mean() < 4


def test_path_string_bytes_image_and_array_are_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture()))
    expected = np.asarray(picture())
    for source in (path, str(path), path.read_bytes(), picture(), expected):
        assert np.array_equal(np.asarray(read_image(source)), expected)


def test_file_is_judged_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(picture(), "PNG"))
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(picture()))


# EXIF tag 274 says where the first row and the first column of the stored picture are shown.
UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(Image.fromarray(MARKED), "PNG", exif=exif)
    upright = read_image(data)
    assert np.array_equal(np.asarray(upright), UPRIGHT[orientation](MARKED))
    assert np.array_equal(np.asarray(read_image(upright)), np.asarray(upright))


def test_unreadable_exif_counts_as_upright() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f and nonsense")
    assert read_image(data).size == picture().size


def test_turned_picture_with_other_damaged_exif_entries_is_still_turned() -> None:
    entries = [struct.pack("<HHII", 274, 3, 1, 6), struct.pack("<HHII", 36864, 7, 9_999, 60_000)]
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 2) + b"".join(entries) + bytes(4)
    data = encoded(picture(20, 30), "JPEG", exif=b"Exif\x00\x00" + tiff)
    assert read_image(data).size == (20, 30)


def test_grey_palette_and_bilevel_become_rgb() -> None:
    grey = Image.new("L", (4, 4), 77)
    assert colour(read_image(encoded(grey))) == (77, 77, 77)
    assert colour(read_image(encoded(Image.new("1", (4, 4), 1)))) == (255, 255, 255)
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(4)
    assert colour(read_image(encoded(palette))) == (10, 200, 30)


def test_cmyk_is_converted_to_the_colour_it_prints() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = colour(read_image(encoded(cyan, "JPEG", quality=100)))
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparent_pixels_show_the_background(alpha: int) -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, alpha))
    share = alpha / 255
    expected = [round(255 * (1 - share) + value * share) for value in (10, 20, 30)]
    assert np.abs(np.subtract(colour(read_image(encoded(image))), expected)).max() <= 1


def test_grey_with_alpha_shows_the_background() -> None:
    assert colour(read_image(encoded(Image.new("LA", (4, 4), (0, 0))))) == (255, 255, 255)


def test_transparent_colour_of_a_palette_or_rgb_png_shows_the_background() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([9, 9, 9, 80, 80, 80])
    assert colour(read_image(encoded(palette, transparency=0))) == (255, 255, 255)
    assert colour(read_image(encoded(palette, transparency=b"\x00\xff"))) == (255, 255, 255)
    rgb = Image.new("RGB", (4, 4), (1, 2, 3))
    assert colour(read_image(encoded(rgb, transparency=(1, 2, 3)))) == (255, 255, 255)


def test_premultiplied_alpha_shows_the_background() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert colour(read_image(half.convert("RGBa"))) == (255, 255, 255)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (40_000, 156), (65_535, 255)])
def test_sixteen_bits_are_scaled_and_not_clipped(value: int, expected: int) -> None:
    row = b"\x00" + struct.pack(">3H", value, value, value)
    assert colour(read_image(png_of((3, 2, 16, 0), row * 2))) == (expected,) * 3
    coloured = b"\x00" + struct.pack(">6H", *[value] * 6)
    assert colour(read_image(png_of((2, 2, 16, 2), coloured * 2))) == (expected,) * 3


def test_thirty_two_bit_and_floating_point_pictures_are_refused() -> None:
    with pytest.raises(ImageError, match="8 bits"):
        read_image(Image.new("I", (2, 2), 70_000))
    with pytest.raises(ImageError, match="floating-point"):
        read_image(Image.new("F", (2, 2), 0.5))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation_is_read(kind: str) -> None:
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as animation:
        assert getattr(animation, "n_frames", 1) == 2
    assert colour(read_image(data)) == (255, 0, 0)


def test_grey_array_becomes_rgb() -> None:
    assert colour(read_image(np.full((3, 5), 9, dtype=np.uint8))) == (9, 9, 9)


def test_given_image_is_not_changed() -> None:
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(io.BytesIO(encoded(picture(), exif=exif))) as image:
        read_image(image)
        assert image.size == picture().size
        assert image.getexif()[274] == 6


# What is refused


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((3, 4, 5), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
    ],
)
def test_array_that_is_no_picture_is_refused_with_its_shape(array: Any) -> None:
    with pytest.raises(ImageError, match=r"\(H, W, 3\).*shape \("):
        read_image(array)


def test_other_types_are_refused() -> None:
    with pytest.raises(ImageError, match="list is not a picture"):
        read_image([1, 2, 3])  # type: ignore[arg-type]


def test_large_picture_is_refused_before_it_is_decoded() -> None:
    # 10,000 x 10,000 bilevel pixels in 12 kB: Pillow itself would only warn.
    data = png_of((10_000, 10_000, 1, 0), bytes(1 + 1250) * 10_000)
    assert len(data) < 20_000
    with pytest.raises(ImageError, match="64,000,000 allowed"):
        read_image(data)


def test_huge_picture_is_refused() -> None:
    data = png_of((20_000, 20_000, 1, 0), b"")
    with pytest.raises(ImageError, match="64,000,000 allowed"):
        read_image(data)


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_FILE_BYTES + 1)  # no disk space is used
    with pytest.raises(ImageError, match=r"large\.png: the file is larger than 64 MiB"):
        read_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_truncated_file_is_refused(kind: str) -> None:
    data = encoded(picture(64, 64), kind)
    for length in (1, 10, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(ImageError):
            read_image(data[:length])


@pytest.mark.parametrize("kind", ["EPS", "PDF", "TIFF", "PPM", "TGA"])
def test_other_formats_under_a_picture_s_name_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(picture(), kind))
    with pytest.raises(ImageError, match="no JPEG, PNG, WebP, BMP, GIF, HEIC or AVIF"):
        read_image(path)


def test_empty_missing_and_odd_paths_are_refused_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, reason in (
        (empty, "is empty"),
        (tmp_path, "folder"),
        (tmp_path / "missing.png", "No such file"),
        (Path("nul\0byte.png"), "null"),
        (Path("/dev/null"), "device"),
    ):
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(ImageError, match="no bytes"):
        read_image(b"")


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="pipe"):
        read_image(pipe)


def test_refused_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ImageError):
            read_image(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(picture()))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path)


SEEDS = [
    encoded(picture(), "PNG"),
    encoded(picture(), "JPEG"),
    encoded(picture(), "BMP"),
    encoded(picture().quantize(8), "GIF"),
    *([encoded(picture(), "WEBP")] if features.check("webp") else []),
]


@settings(max_examples=300)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255))))
def test_altered_bytes_give_a_picture_or_an_image_error(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    altered = bytearray(data)
    for position, value in changes:
        altered[position % len(altered)] = value
    outcome: Image.Image | ImageError
    try:
        outcome = read_image(bytes(altered))
    except ImageError as error:
        outcome = error
    if isinstance(outcome, ImageError):
        assert "\n" not in str(outcome)
    else:
        assert outcome.mode == "RGB"


# Warnings of Pillow


def test_warning_filters_are_as_before_after_reading_in_threads() -> None:
    exif = b"Exif\x00\x00II*\x00\xff\xff\xff\x7f and nonsense"
    data = encoded(picture(), "JPEG", exif=exif)
    before = list(warnings.filters)
    start = threading.Barrier(4)

    def read(_: int) -> tuple[int, int]:
        start.wait()
        return [read_image(data).size for _ in range(50)][-1]

    with ThreadPoolExecutor(4) as readers:
        assert set(readers.map(read, range(4))) == {(30, 20)}
    assert warnings.filters == before


# To the network's square


def test_picture_of_the_right_size_passes_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(read_pixels(pixels, Preprocessing(32)), pixels)


def test_square_is_cut_from_the_middle_of_a_wide_and_a_tall_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 41, 3), dtype=np.uint8)
    middle = pixels[:, 12:28]  # (41 - 16) // 2 = 12
    assert np.array_equal(read_pixels(pixels, Preprocessing(16)), middle)
    tall = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    assert np.array_equal(read_pixels(tall, Preprocessing(16)), middle.transpose(1, 0, 2))


def test_shrinking_averages_with_a_triangle_of_twice_the_scale() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    # In float64 and from the definition: weights fall linearly over `scale` pixels to both sides.
    scale = 4
    centres = (np.arange(16) + 0.5) * scale
    distance = np.abs(np.arange(64) + 0.5 - centres[:, None]) / scale
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("ih,jw,hwc->ijc", weights, weights, pixels.astype(np.float64))
    shrunk = read_pixels(pixels, Preprocessing(16))
    assert np.abs(shrunk - expected).max() <= 1.01


def test_one_pixel_wide_picture_is_enlarged() -> None:
    assert read_pixels(np.zeros((50, 1), dtype=np.uint8), Preprocessing(8)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 333), (64, 64), (256, 256), (257, 300)]
)
@pytest.mark.parametrize(("shorter_px", "size_px"), [(256, 224), (37, 32), (33, 32)])
def test_a_margin_is_cut_off_as_torchvision_does_it(
    height: int, width: int, shorter_px: int, size_px: int
) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    theirs = v2.Compose([v2.Resize(shorter_px), v2.CenterCrop(size_px)])(image)
    ours = read_pixels(pixels, Preprocessing(size_px, shorter_side_px=shorter_px))
    # Pillow holds the box in 32 bits, which may round a value the other way.
    assert np.abs(ours.astype(int) - np.asarray(theirs, dtype=int)).max() <= 1


def test_a_margin_of_a_thin_strip_is_cut_off_without_resizing_all_of_it() -> None:
    strip = np.zeros((2_000_000, 1), dtype=np.uint8)  # 1.5 GB if it were
    assert read_pixels(strip, Preprocessing(224, shorter_side_px=256)).shape == (224, 224, 3)


def test_a_margin_of_an_eighth_leaves_the_middle_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    within = read_pixels(pixels, Preprocessing(28, shorter_side_px=32))
    assert np.array_equal(within, pixels[2:30, 10:38])


def test_pixels_are_writable_and_contiguous() -> None:
    pixels = to_pixels(read_image(picture()), Preprocessing(8))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_image_that_is_not_rgb_is_refused() -> None:
    with pytest.raises(ImageError, match="read_image"):
        to_pixels(Image.new("L", (8, 8)), Preprocessing(8))


# The rule as data


def test_rule_survives_json() -> None:
    for rule in (Preprocessing(48), Preprocessing(48, shorter_side_px=56)):
        assert Preprocessing.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


def test_a_rule_without_a_margin_is_written_as_before_there_were_margins() -> None:
    assert "shorter_side_px" not in Preprocessing(48).to_dict()
    assert Preprocessing(48, shorter_side_px=56).to_dict()["shorter_side_px"] == 56


@pytest.mark.parametrize("shorter_px", [0, 47, 48, 2049, 56.0, "56", True])
def test_impossible_margin_is_refused(shorter_px: Any) -> None:
    with pytest.raises(UsageError, match="above the image size, 48"):
        Preprocessing(48, shorter_side_px=shorter_px)
    with pytest.raises(BundleCorruptError, match="shorter side"):
        Preprocessing.from_dict({**Preprocessing(48).to_dict(), "shorter_side_px": shorter_px})


@pytest.mark.parametrize("size_px", [0, 7, 1025, -32, 32.0, True, "32"])
def test_impossible_size_is_refused(size_px: Any) -> None:
    with pytest.raises(UsageError, match="8 to 1024"):
        Preprocessing(size_px)
    with pytest.raises(BundleCorruptError):
        Preprocessing.from_dict({**Preprocessing(32).to_dict(), "image_size_px": size_px})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resample", "lanczos"),
        ("crop", "none"),
        ("channels", "BGR"),
        ("orientation", "stored"),
        ("background", [0, 0, 0]),
        ("background", 7),
        ("letterbox", True),
    ],
)
def test_unknown_rule_asks_for_a_newer_edgecil(field: str, value: Any) -> None:
    with pytest.raises(BundleVersionError, match="newer"):
        Preprocessing.from_dict({**Preprocessing(32).to_dict(), field: value})


def test_missing_rule_is_damage() -> None:
    values = Preprocessing(32).to_dict()
    del values["crop"]
    with pytest.raises(BundleCorruptError, match="lacks crop"):
        Preprocessing.from_dict(values)


def test_reading_pictures_needs_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys; import edgecil_devices.images; "
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
