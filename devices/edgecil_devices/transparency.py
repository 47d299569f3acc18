"""Which pixels of a grey or colour PNG have its one transparent value (the chunk tRNS).

The value has as many bits as the pixels have in the file, and a pixel is transparent if it equals
it in all of them. Pillow compares it with pixels that it has made 8 bits wide, where grey ones of 2
or 4 bits are other numbers and 16-bit ones have lost their lower bytes.
"""

import io
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Mask: TypeAlias = npt.NDArray[np.bool_]

# Pillow's names for how pixels lie in the file.
_GREY_BITS = {"L;2": 2, "L;4": 4, "L": 8}
_COLOURS_OF_16_BITS = "RGB;16B"
_THEIR_LOWER_BYTES = "RGB;16L"  # what is the upper byte where the lower one comes first


def transparent_pixels(image: Image.Image) -> Mask | None:
    """Decode a picture and find the pixels of its one transparent value.

    Args:
        image: best not decoded yet: of one that is, the lower bytes of 16-bit colours are lost, so
            that the upper ones decide.

    Returns:
        (H, W), True where nothing is to be seen; None where Pillow is right without help.

    Raises:
        Exception: whatever Pillow raises on damaged files.
    """
    value = image.info.get("transparency")
    raw = _raw_mode(image)
    if isinstance(value, int) and (image.mode == "I" or image.mode.startswith("I;16")):
        return np.asarray(np.asarray(image) == value)
    if isinstance(value, int) and image.mode == "L" and raw in _GREY_BITS:
        most = 2 ** _GREY_BITS[raw] - 1
        return np.asarray(np.asarray(image) == (value & most) * 255 // most)
    if isinstance(value, tuple) and image.mode == "RGB":
        if raw == _COLOURS_OF_16_BITS:
            same = _equals(_lower_bytes(image), [part & 255 for part in value])
            return same & _equals(np.asarray(image), [part >> 8 for part in value])
        if max(value) > 255:
            return _equals(np.asarray(image), [part >> 8 for part in value])
    return None


def _raw_mode(image: Image.Image) -> Any:
    """How the pixels of a PNG lie in its file; None once they are decoded."""
    tile = getattr(image, "tile", None)
    return tile[0][3] if tile and image.format == "PNG" else None


def _equals(pixels: npt.NDArray[np.uint8], colour: list[int]) -> Mask:
    return np.asarray((pixels == np.array(colour)).all(axis=2))


def _lower_bytes(image: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3): the bytes of 16-bit colours that Pillow leaves out, by decoding once more."""
    position = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read()
    image.fp.seek(position)
    again: Any
    with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
        again.tile = [(*tile[:3], _THEIR_LOWER_BYTES) for tile in again.tile]
        return np.array(again)
