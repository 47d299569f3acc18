"""Pixels of a PNG's one transparent value show the background, at every depth, and no others do.

The right pictures come from the numbers that are put into the files, without Pillow.
"""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgecil_devices.images import read_image
from edgecil_devices.preprocessing import BACKGROUND

GREY, COLOUR = 0, 2


def png(samples: npt.NDArray[np.int64], bits: int, transparent: tuple[int, ...]) -> bytes:
    """A PNG of samples (H, W) or (H, W, 3), put together by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    rows = b""
    for row in samples.reshape(len(samples), -1).tolist():
        packed = "".join(f"{sample:0{bits}b}" for sample in row)
        packed += "0" * (-len(packed) % 8)
        rows += b"\0" + int(packed, 2).to_bytes(len(packed) // 8, "big")
    kind = GREY if samples.ndim == 2 else COLOUR
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), bits, kind, 0, 0, 0)
    body = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    body += chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def wanted(
    samples: npt.NDArray[np.int64], bits: int, transparent: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """What must be seen: each sample in 8 bits, the background where all samples are the value."""
    seen = np.zeros((*samples.shape[:2], 3), np.uint8)
    for y, row in enumerate(samples.tolist()):
        for x, pixel in enumerate(row):
            parts = tuple(pixel) if isinstance(pixel, list) else (pixel,)
            if parts == transparent:
                seen[y, x] = BACKGROUND
            else:
                seen[y, x] = [v >> 8 if bits == 16 else v * 255 // (2**bits - 1) for v in parts]
    return seen


@pytest.mark.parametrize(
    ("bits", "transparent"), [(1, 1), (2, 1), (4, 6), (8, 0), (8, 200), (16, 0), (16, 0x1234)]
)
def test_transparent_value_of_a_grey_png(bits: int, transparent: int) -> None:
    most = 2**bits - 1
    near = [transparent ^ 1, min(transparent + 256, most), most - transparent]
    samples = np.random.default_rng(bits).choice([transparent, *near], (5, 9))
    assert (samples == transparent).any()
    assert (samples != transparent).any()
    image = read_image(png(samples, bits, (transparent,)))
    assert (np.asarray(image) == wanted(samples, bits, (transparent,))).all()


@pytest.mark.parametrize(
    ("bits", "transparent"),
    [(8, (1, 2, 3)), (16, (256, 512, 768)), (16, (1, 2, 3)), (16, (0xFF00, 0xFF, 0xFFFF))],
)
def test_transparent_value_of_a_colour_png(bits: int, transparent: tuple[int, int, int]) -> None:
    red, green, blue = transparent
    colours = [transparent, (red ^ 1, green, blue), (red, green, blue ^ 1), (green, red, blue)]
    samples = np.array(colours)[np.random.default_rng(bits).integers(0, 4, (5, 9))]
    image = read_image(png(samples, bits, transparent))
    assert (np.asarray(image) == wanted(samples, bits, transparent)).all()


def test_transparent_value_is_as_wide_as_the_pixels() -> None:
    """The format lets the bits above those of a pixel be anything, and says to leave them out."""
    samples = np.array([[0, 1, 2, 3]])
    image = read_image(png(samples, 2, (0xFFFE,)))
    assert (np.asarray(image) == wanted(samples, 2, (2,))).all()


@pytest.mark.parametrize("is_decoded", [False, True])
def test_opened_images_are_read_alike_and_not_changed(is_decoded: bool) -> None:
    samples = np.array([[[256, 512, 768], [999, 999, 999]]])
    with Image.open(io.BytesIO(png(samples, 16, (256, 512, 768)))) as opened:
        if is_decoded:
            opened.load()
        image = read_image(opened)
        again = read_image(opened)
        assert opened.info["transparency"] == (256, 512, 768)
    assert (np.asarray(image) == wanted(samples, 16, (256, 512, 768))).all()
    assert image.tobytes() == again.tobytes()


def test_transparent_value_of_a_turned_picture() -> None:
    samples = np.array([[7, 60000]])
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    with Image.open(io.BytesIO(png(samples, 16, (7,)))) as opened:
        buffer = io.BytesIO()
        opened.save(buffer, "PNG", exif=exif, transparency=7)
    assert np.asarray(read_image(buffer.getvalue())).tolist() == [[[234] * 3, list(BACKGROUND)]]
