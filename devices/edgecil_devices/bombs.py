"""Files that give a decoder work for minutes, though they are small and have few pixels.

A picture's pixels are limited, and so is the work for them. These are not part of it, and whoever
makes a file may put any number of them into it:

- JPEG: a scan of 12 bytes goes over the whole picture once more. Pillow joins EXIF data, segment
  by segment, and copies what it has each time.
- PNG: a remark or colour profile of one kilobyte is inflated to a megabyte, and then forgotten.
- GIF: Pillow below 13 joins the blocks of a remark as it does EXIF data.
- BMP: Pillow decodes run lengths in Python, and pads lines pixel by pixel.
- All of them: Pillow reads the parts of a head in Python, some of them byte by byte.
"""

import io
import re

from PIL import Image

from edgecil_devices.errors import ImageError

MOST_SCANS = 200
"""Scans of a JPEG; programs that try hard write a few dozen."""

MOST_SEGMENTS = 500
"""Segments of a JPEG up to its first scan, or all of one that may have many. Each has 64 kB at
most, so these hold 32 MB of EXIF data, colour profile, depth and whatever else cameras add."""

MOST_COMPRESSED = 100
"""Compressed remarks and colour profiles of a PNG; inflating each takes up to 4 ms."""

MOST_READS = 100_000
"""Pieces in which a file is read. A PNG of 64 MiB in parts of 2 kB takes as many; most programs
write parts of 8 kB or more."""

MOST_GIF_READS = 20_000
"""Likewise of a GIF. Only what stands before its first picture is read in small pieces, two for
each block of up to 255 bytes."""

MOST_RUN_LENGTH_PIXELS = 4_000_000
"""Pixels of a BMP with run lengths, which takes Pillow a second; it reads two bytes for each."""

_SCAN, _END = b"\xda", b"\xd9"
# Of segments, and of the end. Other markers have no length: Pillow and libjpeg pass over them, or
# refuse the file. What is no marker but data has a zero after the 255.
_MARKER = re.compile(rb"\xff([\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe])")
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_RUN_LENGTHS = (1, 2)  # BI_RLE8, BI_RLE4


class Rationed(io.BytesIO):
    """The bytes of a picture's file, which can be read in so many pieces and no more.

    Args:
        data: the whole file.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MOST_READS
        if data.startswith(b"GIF8"):
            self._left = MOST_GIF_READS
        elif data.startswith(b"BM"):
            self._left = 2 * MOST_RUN_LENGTH_PIXELS

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            ImageError: this is one piece too many.
        """
        self._left -= 1
        if self._left < 0:
            raise ImageError("the picture's file is made of too many small parts; save it anew")
        return super().read(size)


def refuse_bomb(data: bytes) -> None:
    """Refuse a file for what it holds, before a decoder sees it.

    Args:
        data: the whole file, of any format.

    Raises:
        ImageError: it is a JPEG of too many scans or segments, or a PNG of too many compressed
            remarks.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _refuse_jpeg_bomb(data)
    # Four bytes are these ones by chance once in 4 GB, so there is no need to go by the parts.
    if data.startswith(b"\x89PNG") and sum(map(data.count, _COMPRESSED)) > MOST_COMPRESSED:
        raise ImageError(
            f"the PNG has more than {MOST_COMPRESSED} compressed remarks; save it without them"
        )


def refuse_run_lengths(image: Image.Image) -> None:
    """Refuse a large BMP with run lengths.

    Args:
        image: opened, not decoded.

    Raises:
        ImageError: it is one.
    """
    has_run_lengths = image.format == "BMP" and image.info.get("compression") in _RUN_LENGTHS
    if has_run_lengths and image.width * image.height > MOST_RUN_LENGTH_PIXELS:
        raise ImageError(
            f"a BMP with run lengths may have {MOST_RUN_LENGTH_PIXELS:,} pixels; save it as a PNG"
        )


def colours_of_scan(data: bytes) -> int:
    """How many of its components the first scan of a JPEG has; 0 where it has no scan.

    Args:
        data: the whole file, no bomb.
    """
    at = 2
    while found := _MARKER.search(data, at):
        at = found.end()
        if found[1] == _SCAN:
            return data[at + 2] if len(data) > at + 2 else 0
        if found[1] != _END:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return 0


def _refuse_jpeg_bomb(data: bytes) -> None:
    """Go from marker to marker as decoders do (ITU-T T.81, B.1.1), until the picture ends.

    What is in segments, a thumbnail for one, and what follows the picture, as telephones append a
    film, is no scan of it. Counting bytes alone is quicker, and enough where there are few.
    """
    may_have_too_many_scans = data.count(b"\xff" + _SCAN) > MOST_SCANS
    scans, segments, at = 0, 0, 2
    while found := _MARKER.search(data, at):
        at = found.end()
        if found[1] == _END and scans:
            return
        segments += 1
        scans += found[1] == _SCAN
        if scans > MOST_SCANS:
            raise ImageError(f"the JPEG has more than {MOST_SCANS} scans; save it anew")
        if segments > MOST_SEGMENTS:
            raise ImageError(f"the JPEG has more than {MOST_SEGMENTS} segments; save it anew")
        if scans and not may_have_too_many_scans:
            return
        if found[1] != _END:  # which before the first scan is none to Pillow
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
