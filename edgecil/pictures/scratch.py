"""Pictures decoded once, whose pixels lie in a file without a name while they are trained on.

Ten thousand squares of 224 pixels are 1.5 GB: too much memory beside training on a small machine,
and files of photos take far longer to decode in every epoch than to read back.

Shapes: N pictures, S image size.
"""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from edgecil.pictures.sequences import Pictures
from edgecil.workers import on_all_cores, portions

_SPARED_BYTES = 1 << 30
"""What stays free on the disk."""


class ScratchPictures:
    """Other pictures' pixels in a file that vanishes with this object, or with the process.

    Args:
        pictures: N pictures, which are read once, here.
        image_size_px: S.
        folder: where the file lies.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, pictures: Pictures, image_size_px: int, folder: Path) -> None:
        self._count, self._shape = len(pictures), (image_size_px, image_size_px, 3)
        self._aspects = pictures.aspects
        with tempfile.TemporaryFile(dir=folder) as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)

        def keep(indices: np.ndarray) -> None:
            data = memoryview(pictures.pixels(indices).tobytes())
            at = int(indices[0]) * self._picture_bytes
            while data:
                written = os.pwrite(self._file, data, at)
                data, at = data[written:], at + written

        on_all_cores(keep, portions(self._count))

    def __len__(self) -> int:
        return self._count

    @property
    def aspects(self) -> np.ndarray | None:
        """(N,) float32, those of the pictures."""
        return self._aspects

    @property
    def _picture_bytes(self) -> int:
        return int(np.prod(self._shape))

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""
        chosen = np.arange(self._count) if indices is None else np.asarray(indices)
        found = np.empty((len(chosen), *self._shape), np.uint8)
        for position, index in enumerate(chosen.tolist()):
            into, at = [found[position].reshape(-1)], index * self._picture_bytes
            if os.preadv(self._file, into, at) != self._picture_bytes:
                raise OSError("the pictures decoded for training cannot be read back")
        return found


def fits_on_disk(byte_count: int, folder: Path) -> bool:
    """Whether so many bytes can lie in a folder for a while, and files be read from any place."""
    return hasattr(os, "preadv") and byte_count + _SPARED_BYTES <= shutil.disk_usage(folder).free
