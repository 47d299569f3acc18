"""Pictures that were collected, before a person: looked at, given a label, or thrown away.

What was given a label goes into a folder of its own, whole as it was collected:

    20261128-162140-tabby-0.34-9f3c01e26ab70d51.jpg               waits
    labelled/mug/20261128-162140-tabby-0.34-9f3c01e26ab70d51.jpg  was labelled, and can be learned

so that `labelled` is a data set of class folders for the workstation.
"""

import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from edgecil_devices.class_names import folder_name
from edgecil_devices.errors import ImageError, StoreWriteError, UsageError
from edgecil_devices.files import cannot_be_written, make_folder, sync_folder
from edgecil_devices.images import read_image
from edgecil_devices.picture_files import is_picture_name
from edgecil_devices.preprocessing import FOR_PHOTOS, Preprocessing

LABELLED = "labelled"
"""The folder within, with one folder for each label."""

_THUMBNAIL_PX = 200
_FOR_THUMBNAIL = Preprocessing(_THUMBNAIL_PX // 2, reading=FOR_PHOTOS)  # twice that is decoded
_NAME = re.compile(r"\d{8}-\d{6}-(.+)-([01]\.\d\d)-(?:[0-9a-f]{8}){1,2}\.\w+")


class CollectedPicture(NamedTuple):
    """One that waits for its label."""

    name: str
    """Of its file."""
    guess: str | None
    """What the classifier held for likeliest, as its name says; None where it says nothing."""
    score: float | None
    """And how likely, 0 to 1."""


class Collection:
    """A folder that `--collect` fills.

    Args:
        folder: it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pictures(self) -> list[CollectedPicture]:
        """Those that wait, oldest first."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if is_picture_name(name))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            told = _NAME.fullmatch(name)
            found.append(
                CollectedPicture(name, told[1] if told else None, float(told[2]) if told else None)
            )
        return found

    def paths(self, names: Sequence[str]) -> list[Path]:
        """The files of pictures that wait.

        Raises:
            UsageError: there is none of one of these names.
        """
        waiting = {one.name for one in self.pictures()}
        for name in names:
            if name not in waiting:
                raise UsageError(f"{name[:80]!r} is not among the collected pictures any more")
        return [self.folder / name for name in names]

    def thumbnail(self, name: str) -> bytes:
        """A small JPEG of a picture.

        Raises:
            UsageError: there is none of this name.
            ImageError: it cannot be read.
        """
        (path,) = self.paths([name])
        try:
            image = read_image(path.read_bytes(), _FOR_THUMBNAIL).convert("RGB")
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror}") from error
        image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        return stream.getvalue()

    def file_as(self, label: str, names: Sequence[str]) -> None:
        """Put pictures that have their label into its folder.

        Raises:
            UsageError: one of them is not there.
            StoreWriteError: the folder cannot be written.
        """
        paths = self.paths(names)
        target = self.folder / LABELLED / folder_name(label)
        try:
            make_folder(target)
            for path in paths:
                path.replace(target / path.name)
            sync_folder(target)
            sync_folder(self.folder)
        except OSError as error:
            raise StoreWriteError(cannot_be_written(target, error)) from error

    def filed(self, label: str, names: Iterable[str]) -> list[Path]:
        """Which of these pictures lie in the folder of a label."""
        folder = self.folder / LABELLED / folder_name(label)
        paths = [folder / name for name in names if is_picture_name(name)]
        return [path for path in paths if path.parent == folder and path.is_file()]

    def take_back(self, label: str, names: Iterable[str]) -> int:
        """Let pictures wait again that have been filed under a label; how many there were.

        Raises:
            StoreWriteError: the folder cannot be written.
        """
        paths = self.filed(label, names)
        try:
            for path in paths:
                path.replace(self.folder / path.name)
            sync_folder(self.folder)
        except OSError as error:
            raise StoreWriteError(cannot_be_written(self.folder, error)) from error
        return len(paths)

    def discard(self, names: Sequence[str]) -> None:
        """Delete pictures.

        Raises:
            UsageError: one of them is not there.
            StoreWriteError: the folder cannot be written.
        """
        paths = self.paths(names)
        try:
            for path in paths:
                path.unlink()
        except OSError as error:
            raise StoreWriteError(cannot_be_written(self.folder, error)) from error
