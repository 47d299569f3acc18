"""Pictures that the classifier was unsure of, kept for a person to label.

    20261128-162140-tabby-0.34-9f3c01e26ab70d51.jpg      time, likeliest class, probability, look

Of pictures that look nearly alike one is kept: frames of a camera that looks at one thing would
fill any disk. Looks stand in names, also of pictures that were given a label. When the bound is
reached nothing more is kept, and nothing that was kept is lost.
"""

import io
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgecil_devices.camera import Frame
from edgecil_devices.collected import LABELLED
from edgecil_devices.decoders import suffix_of
from edgecil_devices.errors import StoreWriteError, UsageError
from edgecil_devices.files import cannot_be_written, make_folder, replace_atomically
from edgecil_devices.images import read_image
from edgecil_devices.picture_files import is_picture_name
from edgecil_devices.preprocessing import FOR_PHOTOS, Preprocessing

_ALIKE_BITS = 8
"""Differing bits of 64 up to which two pictures look alike; frames of a scene differ in 0 to 5."""
_LEFT_FREE_BYTES = 100_000_000
"""Of the disk: anybody on the network may send pictures, and updates and teaching need room."""
_UNSAFE = re.compile(r"[^\w.-]")
_LOOK = re.compile(r"-([0-9a-f]{16})\.\w+$")
_FOR_LOOK = Preprocessing(16, reading=FOR_PHOTOS)


@dataclass(frozen=True)
class Unsure:
    """What a classifier said of a picture."""

    label: str
    """The likeliest class."""
    score: float
    """Its probability, 0 to 1."""
    known: bool = True
    """Whether the picture is like anything that is known, where that is asked for."""


class Collector:
    """Keeps unsure pictures in a folder.

    Args:
        folder: made if it is not there.
        below: the probability below which an answer is unsure, 0 to 1.
        most: how many pictures the folder may have.

    Raises:
        UsageError: `below` or `most` cannot be, or `folder` is a file.
        StoreWriteError: the folder cannot be made.
    """

    def __init__(self, folder: Path, below: float, most: int) -> None:
        if not 0 < below <= 1:
            raise UsageError(f"--collect-below is a probability above 0, not {below:g}")
        if most < 1:
            raise UsageError(f"--collect-most must be at least 1, not {most}")
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--collect wants a folder, and {folder} is a file")
        self.folder, self._below, self._most = folder, below, most
        try:
            make_folder(folder)
        except OSError as error:
            raise StoreWriteError(cannot_be_written(folder, error)) from error
        self._count = self._counted()
        self._looks = self._known_looks()
        self.problem: str | None = None
        """Why no picture is kept now, for `kept_by`."""

    @property
    def full(self) -> bool:
        """Whether the folder has as many pictures as it may.

        Raises:
            StoreWriteError: the folder cannot be looked at.
        """
        if self._count >= self._most:  # somebody may have labelled some since
            self._count = self._counted()
        return self._count >= self._most

    def _counted(self) -> int:
        try:
            return sum(map(is_picture_name, os.listdir(self.folder)))
        except OSError as error:
            raise StoreWriteError(cannot_be_written(self.folder, error)) from error

    def _known_looks(self) -> list[int]:
        """Of the pictures that were kept before."""
        kept = [*self.folder.glob("*"), *(self.folder / LABELLED).glob("*/*")]
        return [int(told[1], 16) for path in kept if (told := _LOOK.search(path.name))]

    def consider(self, picture: bytes | Frame, unsure: Unsure) -> Path | None:
        """Keep a picture if the answer is unsure and nothing like it was kept; where, if so.

        Args:
            picture: the bytes of a file that can be read, or a camera's frame (H, W, 3).
            unsure: the answer.

        Raises:
            StoreWriteError: the folder cannot be written.
        """
        if (unsure.known and unsure.score >= self._below) or self.full:
            return None
        look = _look(read_image(picture, _FOR_LOOK))
        if any((look ^ other).bit_count() <= _ALIKE_BITS for other in self._looks):
            return None
        data = picture if isinstance(picture, bytes) else _jpeg(picture)
        path = self.folder / _name(data, look, unsure)
        try:
            if not path.exists():
                if shutil.disk_usage(self.folder).free < len(data) + _LEFT_FREE_BYTES:
                    raise StoreWriteError(
                        f"{self.folder} is on a disk with less than "
                        f"{_LEFT_FREE_BYTES // 10**6} MB free, which are left to updates; make room"
                    )
                replace_atomically(path, data)
                self._count += 1
        except OSError as error:
            raise StoreWriteError(cannot_be_written(self.folder, error)) from error
        self._looks.append(look)
        return path


def kept_by(
    collector: Collector,
    picture: bytes | Frame,
    unsure: Unsure,
    warn: Callable[[str], None],
) -> None:
    """Let a collector consider a picture. A full disk is no reason to answer nobody.

    Nor is it one to keep no later picture: there may be room again.

    Args:
        collector: which.
        picture: as of `Collector.consider`.
        unsure: likewise.
        warn: told, without the word, what goes wrong or that there are enough, once until a picture
            is kept and there is room for more.
    """
    problem = None
    try:
        kept = collector.consider(picture, unsure)
        if collector.full:
            problem = (
                f"{collector.folder} has as many pictures as it may, so no more are kept; label or "
                "move them, or give a higher --collect-most"
            )
        elif not kept:
            return
    except StoreWriteError as error:
        problem = f"{error}; no pictures are kept meanwhile"
    if problem != collector.problem:
        collector.problem = problem
        if problem:
            warn(problem)


def _look(image: Image.Image) -> int:
    """64 bits that say where a picture gets brighter to the right: alike for pictures alike.

    The difference hash of Krawetz (2013).
    """
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _name(data: bytes, look: int, unsure: Unsure) -> str:
    when = time.strftime("%Y%m%d-%H%M%S")
    label = _UNSAFE.sub("_", unsure.label)[:40]
    return f"{when}-{label}-{unsure.score:.2f}-{look:016x}{suffix_of(data)}"


def _jpeg(frame: Frame) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=92)
    return stream.getvalue()
