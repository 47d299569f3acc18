"""Files that would keep a decoder busy for minutes are refused at once, and sound ones are not."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil_devices import bombs
from edgecil_devices.bombs import (
    MOST_COMPRESSED,
    MOST_GIF_READS,
    MOST_READS,
    MOST_RUN_LENGTH_PIXELS,
    MOST_SCANS,
    MOST_SEGMENTS,
)
from edgecil_devices.decoders import decoding_pixels
from edgecil_devices.errors import ImageError
from edgecil_devices.images import look_at, read_image

MEGABYTE = 1_000_000
SCAN, END = b"\xff\xda", b"\xff\xd9"


def saved(kind: str, side: int = 64, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    (image.convert("P") if kind == "GIF" else image).save(stream, kind, **options)
    return stream.getvalue()


def plainly(data: bytes) -> np.ndarray[Any, Any]:
    """The picture as Pillow reads it, which nothing here has looked at."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def assert_read_as(data: bytes, plain: bytes) -> None:
    assert np.array_equal(np.asarray(read_image(data)), plainly(plain))


# JPEG


def segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def after_start(data: bytes, *more: bytes) -> bytes:
    return data[:2] + b"".join(more) + data[2:]


def scans_of(data: bytes) -> int:
    """Of a JPEG without a thumbnail: its own scans are all that these bytes can be."""
    return data.count(SCAN)


def with_scans(count: int, between: bytes = b"", side: int = 64) -> bytes:
    """A progressive JPEG of so many scans: its second one is there again and again.

    That one is the first to give these coefficients, so giving them again changes nothing.
    """
    data = saved("JPEG", side, progressive=True, quality=30)
    start = data.index(SCAN, data.index(SCAN) + 2)
    stop = min(data.index(next_, start + 2) for next_ in (SCAN, b"\xff\xc4"))
    return data[:stop] + (between + data[start:stop]) * (count - scans_of(data)) + data[stop:]


def test_a_progressive_jpeg_may_have_many_scans_but_not_thousands() -> None:
    plain = saved("JPEG", progressive=True, quality=30)
    assert scans_of(plain) == 10
    most = with_scans(MOST_SCANS)
    assert scans_of(most) == MOST_SCANS
    assert_read_as(most, plain)
    for count in (MOST_SCANS + 1, 2000):
        for read in (read_image, look_at):
            with pytest.raises(ImageError, match="more than 200 scans; save it anew"):
                read(with_scans(count))


@pytest.mark.parametrize(
    "between",
    [
        b"\xff\xd0",
        b"\xff\xff\xff",
        b"\xff\x00\xff\x00",
        b"\xff\xd0\xff\xfb",
        b"\xff\x02\xff\xff",
        b"\xff\x01",
        b"\xff\xff\x00",
        bytes(9),
    ],
    ids=bytes.hex,
)
def test_scans_cannot_be_hidden_behind_marks_that_have_no_length(between: bytes) -> None:
    with pytest.raises(ImageError, match="more than 200 scans"):
        read_image(with_scans(400, between))


def test_what_is_in_segments_and_behind_the_picture_is_no_scan() -> None:
    """Thumbnails, and the films that telephones append."""
    film = np.random.default_rng(0).integers(0, 256, 16 * MEGABYTE, dtype=np.uint8).tobytes()
    assert film.count(SCAN) > MOST_SCANS
    for plain in (saved("JPEG"), saved("JPEG", progressive=True)):
        assert_read_as(after_start(plain, segment(0xFE, SCAN * 9999), segment(0xE1, END)), plain)
        assert_read_as(plain + film, plain)


def test_segments_are_limited() -> None:
    plain = saved("JPEG")
    own = 1 + 2 + 1 + 4 + 1  # JFIF, quantisation, frame, Huffman codes, scan
    for content in (b"", b"Exif\0\0" + bytes(9)):
        most = [segment(0xE1, content)] * (MOST_SEGMENTS - own)
        assert_read_as(after_start(plain, *most), plain)
        with pytest.raises(ImageError, match="more than 500 segments; save it anew"):
            read_image(after_start(plain, *most, segment(0xE1, content)))


# PNG


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def in_png(*chunks: bytes) -> bytes:
    plain = saved("PNG")
    header_end = 8 + 12 + 13
    return plain[:header_end] + b"".join(chunks) + plain[header_end:]


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_remarks_are_limited(name: bytes) -> None:
    head = b"a\0\1\0\0\0" if name == b"iTXt" else b"a\0\0"
    one = chunk(name, head + zlib.compress(b"word"))
    assert_read_as(in_png(*[one] * MOST_COMPRESSED), saved("PNG"))
    with pytest.raises(ImageError, match="more than 100 compressed remarks"):
        read_image(in_png(*[one] * (MOST_COMPRESSED + 1)))


def test_a_png_may_have_thousands_of_parts() -> None:
    remarks = [chunk(b"tEXt", b"k%d\0word" % number) for number in range(9000)]
    assert_read_as(in_png(*remarks), saved("PNG"))


# GIF


def in_gif(*extensions: bytes) -> bytes:
    plain = saved("GIF")
    colours_end = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    return plain[:colours_end] + b"".join(extensions) + plain[colours_end:]


def test_the_blocks_before_the_picture_of_a_gif_are_limited() -> None:
    assert_read_as(in_gif(b"!\xfe" + b"\xff" + bytes(255) + b"\0"), saved("GIF"))
    many = MOST_GIF_READS // 2
    assert_read_as(in_gif(b"!\xfe" + b"\1a" * (many - 100) + b"\0"), saved("GIF"))
    with pytest.raises(ImageError, match="too many small parts; save it anew"):
        read_image(in_gif(b"!\xfe" + b"\1a" * many + b"\0"))


# BMP


def run_lengths(width: int, height: int, data: bytes) -> bytes:
    """A BMP with run lengths (BI_RLE8), and a palette of 256 greys."""
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + len(head) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(data), 0, start) + head + palette + data


def test_run_lengths_are_read_where_they_are_few() -> None:
    # From the bottom up: three of 7 and one of 9, then two literal ones and two of 200.
    data = run_lengths(4, 2, b"\3\7\1\x09\0\0" + b"\1\x05\1\x06\2\xc8\0\0" + b"\0\1")
    expected = np.array([[5, 6, 200, 200], [7, 7, 7, 9]])[..., None].repeat(3, axis=2)
    assert np.array_equal(np.asarray(read_image(data)), expected)
    # As many single pixels as may be, each of which is read by itself.
    side = int(MOST_RUN_LENGTH_PIXELS**0.5) // 4
    grey = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    single = np.stack([np.ones_like(grey), grey], axis=-1)
    rows = b"".join(row.tobytes() + b"\0\0" for row in single)
    assert np.array_equal(np.asarray(read_image(run_lengths(side, side, rows)))[::-1, :, 0], grey)


def test_a_large_bmp_with_run_lengths_is_refused_and_another_is_not() -> None:
    width, height = MOST_RUN_LENGTH_PIXELS // 1000, 1001
    with pytest.raises(ImageError, match="run lengths may have 4,000,000 pixels; save it as a PNG"):
        read_image(run_lengths(width, height, b"\0\1"))
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "BMP")
    assert read_image(stream.getvalue()).size == (width, height)


# All of them


def swollen(name: bytes, content: bytes) -> bytes:
    head = b"a\0\1\0\0\0" if name == b"iTXt" else b"a\0\0"
    one = chunk(name, head + zlib.compress(content * 2**20, 9))
    return in_png(*[one] * (3 * MEGABYTE // len(one)))


BOMBS: dict[str, Callable[[], bytes]] = {
    "JPEG scans": lambda: with_scans(20_000, side=1024),
    "JPEG segments": lambda: after_start(saved("JPEG"), segment(0xFE, b"") * (2 * MEGABYTE)),
    "JPEG EXIF data": lambda: after_start(
        saved("JPEG"), segment(0xE1, b"Exif\0\0" + bytes(9)) * (MEGABYTE // 4)
    ),
    "JPEG fill": lambda: after_start(saved("JPEG"), b"\xff" * (4 * MEGABYTE)),
    "JPEG ends": lambda: after_start(saved("JPEG"), END * (4 * MEGABYTE)),
    "PNG profiles": lambda: swollen(b"iCCP", b"\0"),
    "PNG remarks that are no text": lambda: swollen(b"iTXt", b"\xff"),
    "PNG chunks": lambda: in_png(chunk(b"abCd", b"") * (MEGABYTE // 2)),
    "GIF blocks": lambda: in_gif(b"!\xfe", b"\1a" * (8 * MEGABYTE), b"\0"),
    "BMP lines": lambda: run_lengths(7900, 7900, b"\1\0\0\0" * 7900 + b"\0\1"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_moment(name: str) -> None:
    """Each takes 3 seconds or more where it is decoded, and some a hundred times as long."""
    data = BOMBS[name]()

    def refused_s() -> float:
        before_s = time.process_time()
        assert decoding_pixels(data) == 0
        for read in (look_at, read_image):
            with pytest.raises(ImageError) as caught:
                read(data)
            assert "\n" not in str(caught.value)
            assert "save it " in str(caught.value)
        return time.process_time() - before_s

    assert any(refused_s() < 2.5 for _ in range(3))


def test_a_large_file_is_read_in_far_fewer_pieces_than_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PNG in parts of 8 kB, as most programs write it: three pieces each."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    whole = stream.getvalue()
    at = whole.index(b"IDAT") - 4
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 0)
    parts = [chunk(b"IDAT", body[start : start + 8192]) for start in range(0, len(body), 8192)]
    monkeypatch.setattr(bombs, "MOST_READS", MOST_READS * len(whole) // (64 * 2**20))
    read = read_image(whole[:at] + b"".join(parts) + chunk(b"IEND", b""))
    assert np.array_equal(np.asarray(read), pixels)
