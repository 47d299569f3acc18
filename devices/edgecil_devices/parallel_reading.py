"""Several pictures read at the same time, as many as there are threads and memory for.

Shapes: S side of the square that the network sees.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.decoders import decoding_pixels
from edgecil_devices.errors import ImageError
from edgecil_devices.images import Pixels, read_pixels
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.profiles import current_profile

Undecoded: TypeAlias = bytes | NDArray[np.uint8]
"""The bytes of a picture file, or an RGB array of uint8 (H, W, 3)."""


class ReadPicture(NamedTuple):
    """What became of one picture."""

    pixels: Pixels | ImageError
    """(S, S, 3), or why there are none."""
    ms: float
    """Milliseconds of decoding and resizing, without the wait for memory."""


class Room:
    """Lets threads decode side by side as long as their pictures fit the memory together.

    Args:
        most_pixels: how many pixels may be decoded at once; a larger picture goes alone.
    """

    def __init__(self, most_pixels: int) -> None:
        self._most, self._taken = most_pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait for room for so many pixels, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


def read_together(
    pictures: Sequence[Undecoded], preprocessing: Preprocessing, threads: int
) -> list[ReadPicture]:
    """Read pictures as the network sees them, in their order; a bad one does not stop the others.

    Args:
        pictures: read but not decoded.
        preprocessing: the size S and the rule.
        threads: how many may be decoded at once; fewer are where the profile's memory is short.
    """
    room = Room(current_profile().most_pixels)

    def read(picture: Undecoded) -> ReadPicture:
        needed = 0  # what comes as an array is in memory already
        if isinstance(picture, bytes) and len(pictures) > 1:
            needed = decoding_pixels(picture, preprocessing)
        with room.taken(needed):
            start = time.perf_counter()
            found: Pixels | ImageError
            try:
                found = read_pixels(picture, preprocessing)
            except ImageError as error:
                found = error
            return ReadPicture(found, (time.perf_counter() - start) * 1e3)

    if (workers := min(threads, len(pictures))) <= 1:
        return [read(picture) for picture in pictures]
    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes without the interpreter's lock
        return list(pool.map(read, pictures))
