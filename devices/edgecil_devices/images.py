"""From a picture, as it comes, to the square of pixels that a network sees.

Training's evaluation and the device both read pictures with this module and nothing else, so that
they cannot drift apart. Letters in shapes: H height, W width, S side of the square, in pixels.

What becomes of unusual pictures:

- EXIF orientation is applied; EXIF data that cannot be read count as upright.
- Grey, palette, CMYK and other colour spaces are converted to RGB. A colour profile is turned into
  sRGB (`edgecil_devices.colours`) unless the rule is one from before that.
- A JPEG of at least four times the size that the network needs is decoded at a half, a quarter or
  an eighth of its size, so that at least twice that size is left, unless the rule is an older one.
- Transparent pixels show `BACKGROUND`, also those of the one transparent value of a PNG.
- 16-bit pictures keep the upper byte of each value, so that white stays white.
- Of an animation, the first frame is used.
- Anything that is not JPEG, PNG, WebP, BMP, GIF, HEIC or AVIF inside, whatever its name says, is
  refused, and so are truncated and damaged files, files above `MAX_FILE_BYTES`, pictures above
  `MAX_PIXELS`, folders, pipes and devices. `edgecil_devices.decoders` says what the last two need.
"""

import os
import stat
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgecil_devices.colours import in_srgb
from edgecil_devices.decoders import check_size, opened, scale_for, smallest_scale
from edgecil_devices.errors import ImageError
from edgecil_devices.preprocessing import BACKGROUND
from edgecil_devices.preprocessing import Preprocessing as Preprocessing
from edgecil_devices.reduced import ON_ITS_SIDE, Box, Reduced, box_in, note, whole_size
from edgecil_devices.silence import pillow_silenced
from edgecil_devices.transparency import transparent_pixels

Pixels: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = str | Path | bytes | Image.Image | npt.NDArray[Any]

MAX_FILE_BYTES = 64 * 2**20
"""A larger file is refused before it is read."""

_WITH_PROFILES = ("RGB", "L", "CMYK")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation: what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: ImageSource, preprocessing: Preprocessing | None = None) -> Image.Image:
    """Read one picture: upright, RGB, all decoded.

    Args:
        source: a file's path, the bytes of a file, a Pillow image, or an array of uint8 with shape
            (H, W, 3) in RGB order or (H, W) in grey.
        preprocessing: what it is read for, which may want a large one smaller; None for whole
            pictures in sRGB. Pillow images are never made smaller.

    Raises:
        ImageError: the picture cannot be read or must not be; the message names the file.
    """
    name = f"{os.fspath(source)}: " if isinstance(source, str | Path) else ""
    try:
        if isinstance(source, str | Path):
            return _decode(read_file(Path(source)), preprocessing)
        if isinstance(source, bytes):
            return _decode(source, preprocessing)
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, Image.Image):
            with pillow_silenced():
                check_size(source)
                return _normalise(source, _follows_profiles(preprocessing))
        raise ImageError(
            f"{type(source).__name__} is not a picture; "
            "give a path, bytes, a Pillow image or a uint8 array"
        )
    except ImageError as error:
        raise ImageError(f"{name}{error}") from None
    # Pillow's decoders answer damaged files with almost any exception: OSError, SyntaxError,
    # ValueError, struct.error, IndexError, EOFError, MemoryError, ... None may end a batch.
    except Exception as error:
        raise _damaged(error, name) from error


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Cut the centred square out of an RGB image and resize it.

    Args:
        image: what `read_image` returned.
        preprocessing: the size S and the rule.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ImageError: the image is not RGB.
    """
    if image.mode != "RGB":
        raise ImageError(f"expected an RGB image, got {image.mode}; read it with read_image")
    size_px, whole = preprocessing.image_size_px, whole_size(image)
    if preprocessing.shorter_side_px is None:
        side = min(whole)
        left, top = (whole[0] - side) // 2, (whole[1] - side) // 2
        box: Box = (left, top, left + side, top + side)
    else:
        box = _box_within_margin(whole, preprocessing.shorter_side_px, size_px)
    box = box_in(image, box)
    return np.array(image.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))


def _box_within_margin(sides: tuple[int, int], shorter_px: int, size_px: int) -> Box:
    """Left, top, right and bottom of what remains of an image, in its own pixels.

    Resizing this box gives what resizing the whole image and cutting afterwards would, but for
    rounding. A thin strip would become too large for that. Sides and offsets are rounded as
    torchvision rounds them.
    """
    starts, ends = [], []
    for side in sides:
        resized_px = shorter_px * side // min(sides)
        offset_px = round((resized_px - size_px) / 2)
        starts.append(offset_px * side / resized_px)
        ends.append((offset_px + size_px) * side / resized_px)
    return starts[0], starts[1], ends[0], ends[1]


def read_pixels(source: ImageSource, preprocessing: Preprocessing) -> Pixels:
    """Read one picture as the network sees it: `read_image`, then `to_pixels`.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ImageError: the picture cannot be read or must not be.
    """
    return to_pixels(read_image(source, preprocessing), preprocessing)


def read_file(path: Path) -> bytes:
    """Read the bytes of one regular file that is small enough to be a picture.

    Raises:
        ImageError: the file cannot be opened or read, is not a regular file, is empty, or is larger
            than `MAX_FILE_BYTES`. The message does not name the file.
    """
    # A pipe without a writer would block open() for ever, so it is opened without waiting and
    # judged by its descriptor: what is judged is then what is read.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"the file cannot be opened ({reason})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("this is a folder, pipe or device; give the path of a picture file")
        if status.st_size == 0:
            raise ImageError("the file is empty; replace it")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB; save the picture smaller"
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)  # and no more, should the file be growing
    except OSError as error:
        raise ImageError(f"the file cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)


def look_at(data: bytes) -> tuple[int, int]:
    """See whether a picture file can be read, as cheaply as that can be told.

    All of a JPEG is looked at, but only an eighth of its size decoded.

    Returns:
        Its width and height in pixels, upright.

    Raises:
        ImageError: as of `read_image`.
    """
    try:
        with opened(data, smallest_scale) as (image, (width, height), _):
            turned = _orientation(image) in ON_ITS_SIDE
            _normalise(image, False)
            return (height, width) if turned else (width, height)
    except ImageError:
        raise
    except Exception as error:  # see `read_image`
        raise _damaged(error) from error


def _decode(data: bytes, preprocessing: Preprocessing | None) -> Image.Image:
    scale_of = partial(scale_for, preprocessing=preprocessing)
    with opened(data, scale_of) as (image, stored, scale):
        rgb = _normalise(image, _follows_profiles(preprocessing))
        if scale > 1:
            note(rgb, Reduced.of(stored, scale, _orientation(image)))
        return rgb


def _follows_profiles(preprocessing: Preprocessing | None) -> bool:
    return preprocessing is None or preprocessing.is_for_photos


def _from_array(pixels: npt.NDArray[Any]) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_picture or pixels.size == 0:
        raise ImageError(
            "expected an array of uint8 with shape (H, W, 3) or (H, W), "
            f"got {pixels.dtype} with shape {pixels.shape}"
        )
    image = Image.fromarray(np.ascontiguousarray(pixels))
    check_size(image)
    return _normalise(image, False)


def _normalise(image: Image.Image, follows_profile: bool) -> Image.Image:
    """Decode an opened image and make it upright RGB; the given image is not changed."""
    profile = image.info.get("icc_profile") if follows_profile else None
    transparent = transparent_pixels(image)
    image.load()  # a truncated file is noticed here, not when it is opened
    upright = _UPRIGHT.get(_orientation(image))
    if transparent is None:
        rgb = _to_rgb(image, profile)
    else:
        opaque = image.copy()
        del opaque.info["transparency"]
        rgb = _to_rgb(opaque, profile)
        rgb.paste(BACKGROUND, mask=Image.fromarray(transparent))
    return rgb if upright is None else rgb.transpose(upright)


def _damaged(error: Exception, name: str = "") -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name}the picture is damaged ({reason[:200]}); replace it")


def _orientation(image: Image.Image) -> int:
    # Pillow's own exif_transpose also rewrites the EXIF data, and fails on pictures whose
    # orientation is sound but whose other entries are not.
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF data are as untrusted as the rest; without them the picture is upright
        return 1


def _to_rgb(image: Image.Image, profile: Any) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # convert("RGB") would clip every value above 255 to white.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("values lie outside 16 bits; save the picture with 8 bits a channel")
        return _opaque(Image.fromarray((values >> 8).astype(np.uint8)), profile)
    if image.mode == "F":
        raise ImageError("this is a floating-point picture; save it with 8 bits a channel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La")
        above = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        if profile:
            colours = _opaque(above.getchannel(0) if grey else above.convert("RGB"), profile)
            colours.putalpha(above.getchannel(3))
            above = colours
        below = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, above).convert("RGB")
    return _opaque(image, profile)


def _opaque(image: Image.Image, profile: Any) -> Image.Image:
    """An image without transparency as RGB, a copy."""
    rgb = None
    if profile:
        rgb = in_srgb(image if image.mode in _WITH_PROFILES else image.convert("RGB"), profile)
    if rgb is None:
        rgb = image.convert("RGB")  # a copy, also of what is RGB already
    rgb.info = {}  # or a second reading would find the orientation, and turn it again
    return rgb
