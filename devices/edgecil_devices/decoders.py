"""Which of Pillow's decoders a picture may reach, and at which scale it is decoded.

JPEG, PNG, WebP, BMP and GIF come with every Pillow. AVIF comes with Pillow 11.3, HEIC (as iPhones
save) with the package pillow-heif, the extra `heic`; it is imported when the first such picture is
met. Both are files of boxes (ISO/IEC 14496-12), and the first box says which of them it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from edgecil_devices.av1 import coded_pixels
from edgecil_devices.bombs import Rationed, colours_of_scan, refuse_bomb, refuse_run_lengths
from edgecil_devices.errors import ImageError
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.profiles import current_profile
from edgecil_devices.silence import pillow_silenced

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The decoders that any picture may reach; Pillow's others (EPS, PDF and so on) stay closed."""

MAX_PIXELS = 64_000_000
"""A larger picture (H times W) is refused before it is decoded, and so is one whose decoding takes
more than the board's memory (`edgecil_devices.profiles`); Pillow itself only warns below
178,956,970. It admits the 50-megapixel pictures of telephones."""

SMALLEST_SCALE = 8
"""Of a JPEG, an eighth of each side is the least that its decoder can give."""

NEEDS_HEIC = "HEIC pictures need one package more: pip install 'edgecil[heic]'"
"""What is said of a HEIC picture where pillow-heif is not installed."""

NEEDS_AVIF = "AVIF pictures need Pillow 11.3 or newer: pip install --upgrade pillow"
"""What is said of an AVIF picture where Pillow cannot read it."""

_AVIF = frozenset({b"avif"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_SEQUENCES = frozenset({b"avis", b"msf1"})
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
_MOST_BRANDS = 32
_SCALES = (SMALLEST_SCALE, 4, 2)
_LEAST_LEFT = 2  # times the size that is needed: resizing then still averages


def begins_like_a_picture(start: bytes) -> bool:
    """Whether the first bytes of a file, 16 or more, are those of a picture that is known here."""
    if start.startswith(_BEGINNINGS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return True
    return start[4:8] == b"ftyp" and (
        start[8:12] in _AVIF | _HEIF | _SEQUENCES or start[8:12] == b"mif1"
    )


def suffix_of(data: bytes) -> str:
    """The ending that the name of a picture's file should have, ".jpg" for one."""
    if data[4:8] == b"ftyp":
        return ".avif" if not _AVIF.isdisjoint(_brands(data)) else ".heic"
    known = ((b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))
    return next((suffix for start, suffix in known if data.startswith(start)), ".jpg")


class Opened(NamedTuple):
    """A picture that is not decoded yet."""

    image: Image.Image
    """Decoded at its scale when it is."""
    stored_size: tuple[int, int]
    """Width and height in its file, in pixels."""
    scale: int
    """By how much it is made smaller while it is decoded: 8, 4, 2 or 1."""


@contextmanager
def opened(data: bytes, scale_of: Callable[[Image.Image], int]) -> Iterator[Opened]:
    """Open a picture whose size is allowed; Pillow's warnings are off.

    Args:
        data: the bytes of its file.
        scale_of: the picture -> its scale, such as `smallest_scale`.

    Raises:
        ImageError: it has none of the formats, too many pixels or none, no decoder here, or is one
            of `bombs`; the last is noticed while it is decoded, too.
        Exception: whatever Pillow raises on damaged files.
    """
    with _of_any_size(data) as image:
        found = Opened(image, image.size, scale_of(image))
        check_size(image, _saving(data, image, found.scale))
        if found.scale > 1:
            width, height = image.size
            image.draft(None, (max(1, width // found.scale), max(1, height // found.scale)))
        yield found


@contextmanager
def _of_any_size(data: bytes) -> Iterator[Image.Image]:
    if not data:
        raise ImageError("there are no bytes in this picture; replace it")
    with pillow_silenced():
        try:
            image = _opened(data, _formats_of(data))
        except Image.DecompressionBombError:  # Pillow's own limit, far above ours
            raise _too_large(most_pixels()) from None
        with image:
            yield image


def _opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    if formats == ("AVIF",) and coded_pixels(data) > most_pixels():
        # libavif decodes a stream before it sees that it is not as it was said.
        raise _too_large(most_pixels())
    refuse_bomb(data)
    try:
        image = Image.open(Rationed(data), formats=formats)
    except UnidentifiedImageError:
        if formats != FORMATS:
            raise ImageError("the picture is damaged; replace it") from None
        raise ImageError(
            "this is no JPEG, PNG, WebP, BMP, GIF, HEIC or AVIF picture; convert it to one of them"
        ) from None
    refuse_run_lengths(image)
    return image


def check_size(image: Image.Image, saving: int = 1) -> None:
    """Refuse pictures that have too many pixels for this board, or none.

    Args:
        image: opened or decoded.
        saving: how many times less memory its decoding takes than of all its pixels.

    Raises:
        ImageError: it is one.
    """
    most = min(MAX_PIXELS, current_profile().most_pixels * saving)
    if image.width * image.height > most:
        raise _too_large(most)
    if image.width * image.height == 0:
        raise ImageError("the picture has no pixels; replace it")


def scale_for(image: Image.Image, preprocessing: Preprocessing | None) -> int:
    """By how much a picture is made smaller while it is decoded: 8, 4, 2 or 1.

    Args:
        image: opened, not decoded.
        preprocessing: says what is left of it in the end; at least twice that is decoded. None for
            all of it.
    """
    if preprocessing is None or not preprocessing.is_for_photos:
        return 1
    if not isinstance(image, JpegImageFile):
        return 1
    least_px = _LEAST_LEFT * preprocessing.least_side_px
    return next((scale for scale in _SCALES if min(image.size) >= scale * least_px), 1)


def smallest_scale(image: Image.Image) -> int:
    """The most that a picture can be made smaller while it is decoded: 8 for a JPEG, else 1."""
    return SMALLEST_SCALE if isinstance(image, JpegImageFile) else 1


def _saving(data: bytes, image: Image.Image, scale: int) -> int:
    """How many times less memory an opened picture takes at a scale than whole."""
    if scale == 1 or not isinstance(image, JpegImageFile):
        return 1
    # Of a JPEG of several scans, as a progressive one is, all coefficients are held at any scale.
    has_one_scan = "progressive" not in image.info and colours_of_scan(data) == image.layers
    return scale**2 if has_one_scan else min(scale, 2)


def decoding_pixels(data: bytes, preprocessing: Preprocessing | None = None) -> int:
    """How many pixels' memory reading a file takes, from its head alone; 0 if it cannot be told.

    Args:
        data: the bytes of a file.
        preprocessing: what it is read for; None for `images.look_at`.
    """
    try:
        with _of_any_size(data) as image:  # one that is too large must not count as none
            scale = scale_for(image, preprocessing) if preprocessing else smallest_scale(image)
            return image.width * image.height // _saving(data, image, scale)
    except Exception:  # whatever is wrong with the file, reading it will say so
        return 0


def _formats_of(data: bytes) -> tuple[str, ...]:
    if data[4:8] != b"ftyp":
        return FORMATS
    brands = _brands(data)
    if brands[:1] == [b"avis"]:
        raise ImageError("this is a film in AVIF; save one picture of it")
    if not _AVIF.isdisjoint(brands):
        if not _reads_avif():
            raise ImageError(NEEDS_AVIF)
        return ("AVIF",)
    if not _HEIF.isdisjoint(brands):
        if not _reads_heif():
            raise ImageError(NEEDS_HEIC)
        return ("HEIF",)
    return FORMATS  # a film, for one, which none of them knows


def _brands(data: bytes) -> list[bytes]:
    """What a file of boxes says it is: first of all, and what else it can be read as."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MOST_BRANDS)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]


@cache
def _reads_avif() -> bool:
    try:
        plugin = import_module("PIL.AvifImagePlugin")
    except ImportError:  # an older Pillow
        return False
    return bool(plugin.SUPPORTED)


@cache
def _reads_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    # One thread a picture, since several are read at the same time; and nothing but the picture.
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return True


def most_pixels() -> int:
    """What a picture that is decoded whole may have here, H times W."""
    return min(MAX_PIXELS, current_profile().most_pixels)


def _too_large(most: int) -> ImageError:
    return ImageError(
        f"the picture has more pixels than the {most:,} allowed here; save it smaller"
    )
