"""Picture files read side by side, as many as memory is set apart for.

Shapes: S side of the square that the network sees.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from edgecil.errors import ImageError
from edgecil_devices.decoders import decoding_pixels
from edgecil_devices.images import Pixels, Preprocessing, read_file, read_image, read_pixels
from edgecil_devices.parallel_reading import Room
from edgecil_devices.reduced import box_in, whole_size

PIXELS_AT_ONCE = 24_000_000
"""Pixels that are decoded side by side, about 300 MB; a larger picture is decoded alone. A photo of
12 megapixels in JPEG counts as one or less, since a quarter of its sides or less is decoded."""

_REDUCING_GAP = 16
"""Sides of more than 32 S pixels are first averaged in whole steps: resizing a strip of millions of
pixels at once takes gigabytes."""

T = TypeVar("T")

_room = Room(PIXELS_AT_ONCE)


def within_room(path: Path, preprocessing: Preprocessing | None, read: Callable[[bytes], T]) -> T:
    """What `read` makes of a file's bytes, once there is room for it beside the others.

    Args:
        path: the file.
        preprocessing: what it is read for; None to look whether it is sound.
        read: decodes it.

    Raises:
        ImageError: the file cannot be read; the message names it.
    """
    try:
        data = read_file(path)
        with _room.taken(decoding_pixels(data, preprocessing)):
            return read(data)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def seen(path: Path, preprocessing: Preprocessing) -> Pixels:
    """One file as the network sees it, (S, S, 3)."""
    return within_room(path, preprocessing, lambda data: read_pixels(data, preprocessing))


def squeezed(path: Path, preprocessing: Preprocessing) -> Pixels:
    """A whole picture, upright, its sides made equal: (S, S, 3)."""
    sides = (preprocessing.image_size_px,) * 2

    def read(data: bytes) -> Pixels:
        image = read_image(data, preprocessing)
        box = box_in(image, (0, 0, *whole_size(image)))
        return np.array(
            image.resize(sides, Image.Resampling.BILINEAR, box=box, reducing_gap=_REDUCING_GAP)
        )

    return within_room(path, preprocessing, read)


def _forget() -> None:
    """A process that was forked has its own room, whoever was in the other."""
    global _room
    _room = Room(PIXELS_AT_ONCE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
