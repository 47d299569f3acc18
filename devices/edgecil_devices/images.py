"""From a picture, as it comes, to the square of pixels that a network sees.

Training's evaluation and the device both read pictures with this module and nothing else, so that
they cannot drift apart. Letters in shapes: H height, W width, S side of the square, in pixels.

What becomes of unusual pictures:

- EXIF orientation is applied; EXIF data that cannot be read count as upright.
- Grey, palette, CMYK and other colour spaces are converted to RGB; colour profiles are ignored.
- Transparent pixels show `BACKGROUND`, also those of the one transparent value of a PNG.
- 16-bit pictures keep the upper byte of each value, so that white stays white.
- Of an animation, the first frame is used.
- Anything that is not JPEG, PNG, WebP, BMP or GIF inside, whatever its name says, is refused, and
  so are truncated and damaged files, files above `MAX_FILE_BYTES`, pictures above `MAX_PIXELS`,
  folders, pipes and devices.
"""

import io
import os
import stat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgecil_devices.errors import ImageError
from edgecil_devices.preprocessing import BACKGROUND
from edgecil_devices.preprocessing import Preprocessing as Preprocessing
from edgecil_devices.profiles import current_profile
from edgecil_devices.silence import pillow_silenced
from edgecil_devices.transparency import transparent_pixels

Pixels: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = str | Path | bytes | Image.Image | npt.NDArray[Any]

MAX_FILE_BYTES = 64 * 2**20
"""A larger file is refused before it is read."""

MAX_PIXELS = 64_000_000
"""A larger picture (H times W) is refused before it is decoded, and so is one that is too large for
the board's memory (`edgecil_devices.profiles`); Pillow itself only warns below 178,956,970. It
admits the 50-megapixel pictures of telephones."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The decoders that a picture may reach; Pillow's others (EPS, PDF, TIFF and so on) stay closed."""

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


def read_image(source: ImageSource) -> Image.Image:
    """Read one picture: upright, RGB, all decoded.

    Args:
        source: a file's path, the bytes of a file, a Pillow image, or an array of uint8 with shape
            (H, W, 3) in RGB order or (H, W) in grey.

    Raises:
        ImageError: the picture cannot be read or must not be; the message names the file.
    """
    name = f"{os.fspath(source)}: " if isinstance(source, str | Path) else ""
    try:
        if isinstance(source, str | Path):
            return _decode(read_file(Path(source)))
        if isinstance(source, bytes):
            return _decode(source)
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, Image.Image):
            with pillow_silenced():
                return _normalise(source)
        raise ImageError(
            f"{type(source).__name__} is not a picture; "
            "give a path, bytes, a Pillow image or a uint8 array"
        )
    except ImageError as error:
        raise ImageError(f"{name}{error}") from None
    # Pillow's decoders answer damaged files with almost any exception: OSError, SyntaxError,
    # ValueError, struct.error, IndexError, EOFError, MemoryError, ... None may end a batch.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}the picture is damaged ({reason[:200]}); replace it") from error


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
    size_px = preprocessing.image_size_px
    if preprocessing.shorter_side_px is None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box: tuple[float, float, float, float] = (left, top, left + side, top + side)
    else:
        box = _box_within_margin(image.size, preprocessing.shorter_side_px, size_px)
    return np.array(image.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))


def _box_within_margin(
    sides: tuple[int, int], shorter_px: int, size_px: int
) -> tuple[float, float, float, float]:
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
    """Read one picture as the network sees it: `to_pixels(read_image(source), preprocessing)`.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ImageError: the picture cannot be read or must not be.
    """
    return to_pixels(read_image(source), preprocessing)


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


def _decode(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("there are no bytes in this picture; replace it")
    with pillow_silenced():
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            raise ImageError(
                "this is no JPEG, PNG, WebP, BMP or GIF picture; convert it to one of them"
            ) from None
        except Image.DecompressionBombError:  # Pillow's own limit, far above ours
            raise _too_large() from None
        with image:
            return _normalise(image)


def _from_array(pixels: npt.NDArray[Any]) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_picture or pixels.size == 0:
        raise ImageError(
            "expected an array of uint8 with shape (H, W, 3) or (H, W), "
            f"got {pixels.dtype} with shape {pixels.shape}"
        )
    return _normalise(Image.fromarray(np.ascontiguousarray(pixels)))


def _normalise(image: Image.Image) -> Image.Image:
    """Decode an opened image and make it upright RGB; the given image is not changed."""
    if image.width * image.height > _most_pixels():
        raise _too_large()
    if image.width * image.height == 0:
        raise ImageError("the picture has no pixels; replace it")
    transparent = transparent_pixels(image)
    image.load()  # a truncated file is noticed here, not when it is opened
    upright = _UPRIGHT.get(_orientation(image))
    if transparent is None:
        rgb = _to_rgb(image)
    else:
        opaque = image.copy()
        del opaque.info["transparency"]
        rgb = _to_rgb(opaque)
        rgb.paste(BACKGROUND, mask=Image.fromarray(transparent))
    return rgb if upright is None else rgb.transpose(upright)


def _most_pixels() -> int:
    return min(MAX_PIXELS, current_profile().most_pixels)


def _too_large() -> ImageError:
    most = f"{_most_pixels():,}"
    return ImageError(f"the picture has more pixels than the {most} allowed here; save it smaller")


def _orientation(image: Image.Image) -> int:
    # Pillow's own exif_transpose also rewrites the EXIF data, and fails on pictures whose
    # orientation is sound but whose other entries are not.
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF data are as untrusted as the rest; without them the picture is upright
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # convert("RGB") would clip every value above 255 to white.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("values lie outside 16 bits; save the picture with 8 bits a channel")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("this is a floating-point picture; save it with 8 bits a channel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        below = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, above).convert("RGB")
    rgb = image.convert("RGB")  # a copy, also of what is RGB already
    rgb.info = {}  # or a second reading would find the orientation, and turn it again
    return rgb
