"""A picture's colours are those that its profile means, and a bad profile does no harm.

What is right is worked out here from the definitions of the colour spaces, in float64.
"""

import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from edgecil_devices import colours
from edgecil_devices.images import read_image, read_pixels
from edgecil_devices.preprocessing import AS_STORED, FOR_PHOTOS, Preprocessing

Floats = NDArray[np.float64]

D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))  # SMPTE EG 432-1
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
D50 = np.array([0.9642, 1.0, 0.8249])

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def xyz(x: float, y: float) -> Floats:
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(primaries: Primaries) -> Floats:
    """Linear RGB to XYZ under D65, (3, 3)."""
    columns = np.stack([xyz(*one) for one in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz(*D65))


def adapted(matrix: Floats) -> Floats:
    """The same under D50, as profiles hold it, by Bradford's rule."""
    scale = np.diag((BRADFORD @ D50) / (BRADFORD @ xyz(*D65)))
    return np.asarray(np.linalg.inv(BRADFORD) @ scale @ BRADFORD @ matrix)


def srgb_to_linear(values: Floats) -> Floats:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Floats) -> Floats:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def expected(linear: Floats, primaries: Primaries) -> Floats:
    """Linear colours (..., 3) of a space, as sRGB in 0..255."""
    matrix = np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)
    return linear_to_srgb(linear @ matrix.T) * 255


def profile(
    primaries: Primaries = SRGB,
    curve: tuple[float, ...] = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    *,
    space: bytes = b"RGB ",
    padding: int = 0,
) -> bytes:
    """A profile put together by hand (ICC.1:2022): a matrix and a curve, or a grey curve alone."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    kind = {1: 0, 5: 3}[len(curve)]
    curve_tag = b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(fixed, curve))
    white = b"XYZ \0\0\0\0" + b"".join(map(fixed, D50))
    tags = {b"wtpt": white}
    if space == b"GRAY":
        tags[b"kTRC"] = curve_tag
    else:
        for letter, column in zip((b"r", b"g", b"b"), adapted(to_xyz(primaries)).T, strict=True):
            tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + b"".join(map(fixed, column))
            tags[letter + b"TRC"] = curve_tag
    for name in (b"desc", b"cprt"):
        tags[name] = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0x"
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    body += bytes(padding)
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"test", 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(map(fixed, D50)) + bytes(48)
    assert len(head) == 128
    return head + struct.pack(">I", len(tags)) + table + body


SPACES: dict[str, tuple[Primaries, tuple[float, ...]]] = {
    "display-p3": (DISPLAY_P3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    "adobe-rgb": (ADOBE_RGB, (563 / 256,)),
}


def some_colours() -> NDArray[np.uint8]:
    """(8, 32, 3), none of them at the ends of the scale."""
    return np.random.default_rng(0).integers(40, 216, (8, 32, 3)).astype(np.uint8)


def saved(
    image: Image.Image, icc_profile: bytes | None, kind: str = "PNG", **options: Any
) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, icc_profile=icc_profile, **options)
    return stream.getvalue()


def pixels_of(data: bytes) -> NDArray[np.int64]:
    return np.asarray(read_image(data)).astype(np.int64)


@pytest.mark.parametrize("name", SPACES)
def test_colours_are_those_that_the_primaries_and_the_curve_give(name: str) -> None:
    primaries, curve = SPACES[name]
    pixels = some_colours()
    values = pixels / 255
    linear = values ** curve[0] if len(curve) == 1 else srgb_to_linear(values)
    found = pixels_of(saved(Image.fromarray(pixels), profile(primaries, curve)))
    assert np.abs(found - expected(linear, primaries)).max() <= 1.6
    assert np.abs(found - pixels).max() > 10


def test_pure_red_of_display_p3_is_beyond_srgb_and_cut_to_it() -> None:
    red = saved(Image.new("RGB", (4, 4), (255, 0, 0)), profile(DISPLAY_P3))
    assert pixels_of(red)[0, 0].tolist() == [255, 0, 0]
    # 0.917, 0.200, 0.139 is the red of sRGB in Display P3 (CSS Color 4 gives it in its examples).
    same = saved(Image.new("RGB", (4, 4), (234, 51, 35)), profile(DISPLAY_P3))
    assert np.abs(pixels_of(same)[0, 0] - (255, 0, 0)).max() <= 8


def test_a_grey_profile_is_followed() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = pixels_of(saved(Image.fromarray(grey), profile(curve=(1.75,), space=b"GRAY")))
    wanted = linear_to_srgb((grey / 255) ** 1.75) * 255
    # A table of 33 steps stands for the curve, which is steep where it begins.
    assert np.abs(found - wanted[..., None])[1:].max() <= 1.6
    assert found[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_palettes_and_transparent_pictures_are_turned_too(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 60))
    plain = pixels_of(saved(image, profile(DISPLAY_P3)))
    other = image.quantize(4) if mode == "P" else image.convert("RGBA")
    assert np.array_equal(pixels_of(saved(other, profile(DISPLAY_P3))), plain)
    other.putalpha(0)
    assert pixels_of(saved(other.convert("RGBA"), profile(DISPLAY_P3))).min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_every_format_s_profile_is_found(kind: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 60, 60))
    data = saved(image, profile(DISPLAY_P3), kind, quality=100)
    wanted = expected(srgb_to_linear(np.array([200, 60, 60]) / 255), DISPLAY_P3)
    assert np.abs(pixels_of(data)[8, 8] - wanted).max() <= 4


def test_a_profile_that_means_srgb_changes_nothing() -> None:
    pixels = some_colours()
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for srgb in (own, profile(), profile(padding=300)):
        colours._known.clear()
        assert np.array_equal(pixels_of(saved(Image.fromarray(pixels), srgb)), pixels)
        assert list(colours._known.values()) == [None]


def test_a_known_profile_is_not_looked_into_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.fromarray(some_colours()), profile(DISPLAY_P3))
    first = pixels_of(data)
    monkeypatch.setattr(ImageCms, "ImageCmsProfile", None)
    assert np.array_equal(pixels_of(data), first)


def test_only_so_many_profiles_are_remembered() -> None:
    image = Image.new("RGB", (2, 2), (200, 60, 60))
    files = [saved(image, profile(DISPLAY_P3, padding=4 * number)) for number in range(40)]
    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(pixels_of, files * 2))
    assert len(colours._known) <= colours.KEPT
    assert all(np.array_equal(one, found[0]) for one in found)


def damaged() -> dict[str, bytes]:
    whole = profile(DISPLAY_P3)
    dark = bytearray(whole)
    for letter in (b"r", b"g", b"b"):  # the XYZ of each primary nearly zero: white becomes black
        entry = dark.index(letter + b"XYZ")
        at = int.from_bytes(dark[entry + 4 : entry + 8], "big") + 8
        dark[at : at + 12] = struct.pack(">3i", 1, 1, 1)
    return {
        "empty": b"",
        "text": b"sRGB",
        "zeros": bytes(500),
        "cut": whole[:200],
        "head alone": whole[:128],
        "nonsense after the head": whole[:128] + b"\xff" * 400,
        "dark": bytes(dark),
        "lab": whole[:16] + b"Lab " + whole[20:],
        "device link": whole[:12] + b"link" + whole[16:],
        "another space": profile(curve=(1.0,), space=b"GRAY"),
        "huge": profile(DISPLAY_P3, padding=colours.LARGEST_PROFILE_BYTES),
    }


@pytest.mark.parametrize("fault", damaged())
def test_a_profile_that_cannot_be_followed_is_ignored(fault: str) -> None:
    image = Image.fromarray(some_colours())
    image.info["icc_profile"] = damaged()[fault]
    assert np.array_equal(np.asarray(read_image(image)), some_colours())


def test_what_is_no_bytes_is_ignored() -> None:
    image = Image.fromarray(some_colours())
    image.info["icc_profile"] = "sRGB"
    assert np.array_equal(np.asarray(read_image(image)), some_colours())


def test_altered_profiles_give_a_picture_in_bounded_time() -> None:
    whole, draw = profile(DISPLAY_P3), np.random.default_rng(0)
    start = time.process_time()
    for _ in range(200):
        altered = bytearray(whole)
        for place in draw.integers(128, len(whole), 4):
            altered[place] = draw.integers(256)
        image = Image.fromarray(some_colours())
        image.info["icc_profile"] = bytes(altered)
        assert read_image(image).mode == "RGB"
    assert time.process_time() - start < 60


def test_cmyk_with_a_profile_that_is_not_for_it_prints_as_without_one() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    with_one = pixels_of(saved(cyan, profile(DISPLAY_P3), "JPEG", quality=100))
    assert np.array_equal(with_one, pixels_of(saved(cyan, None, "JPEG", quality=100)))


def test_without_littlecms_profiles_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise ImportError("The _imagingcms C module is not installed")

    colours._known.clear()
    monkeypatch.setattr(ImageCms, "createProfile", lacking)
    data = saved(Image.fromarray(some_colours()), profile(DISPLAY_P3))
    assert np.array_equal(pixels_of(data), some_colours())
    colours._known.clear()


def test_a_bundle_from_before_reads_the_stored_colours() -> None:
    pixels = np.random.default_rng(0).integers(40, 216, (32, 32, 3)).astype(np.uint8)
    data = saved(Image.fromarray(pixels), profile(DISPLAY_P3))
    before, today = (Preprocessing(32, reading=how) for how in (AS_STORED, FOR_PHOTOS))
    assert np.array_equal(read_pixels(data, before), pixels)
    assert np.array_equal(read_pixels(data, today), np.asarray(read_image(data)))
    assert not np.array_equal(read_pixels(data, today), pixels)
