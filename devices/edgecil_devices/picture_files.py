"""Which files of a folder count as pictures: one rule for training, `predict` and `--watch`.

Letters do not count as large or small. A file whose name has no ending counts if it begins as a
picture does. Folders that systems and programs leave behind are skipped, with all in them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgecil_devices.decoders import begins_like_a_picture

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"),
    *(".heic", ".heif", ".hif", ".avif"),
)
"""Endings of the names of pictures, in small letters; what counts then is what is inside."""

LEFTOVER_FOLDERS = frozenset(
    {
        "__macosx",  # of zip files from a Mac: a shadow file for each picture
        "@eadir",  # Synology: thumbnails, which are pictures, of every picture
        "#recycle",
        "@recycle",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
    }
)
"""Names, in small letters, of folders that nobody made: their pictures are nobody's either."""

# A pipe without a writer would block open() for ever.
_AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is skipped: it begins with a dot, or is a leftover."""
    return name.startswith(".") or name.lower() in LEFTOVER_FOLDERS


def is_picture_name(name: str) -> bool:
    """Whether a file counts as a picture by its name's ending, and is not hidden."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def is_picture_file(path: "str | os.PathLike[str]") -> bool:
    """Whether a file in a folder counts: by its ending or, where it has none, by its beginning.

    The file is opened only if its name has no ending. One that cannot be opened then counts, so
    that reading it says what is wrong.
    """
    name = os.path.basename(path)
    return is_picture_name(name) or (may_be_picture_name(name) and begins_as_picture(path))


def may_be_picture_name(name: str) -> bool:
    """Whether a name leaves open that this is a picture: its ending is that of one, or none."""
    if name.startswith("."):
        return False
    return is_picture_name(name) or not os.path.splitext(name)[1]


def begins_as_picture(path: "str | os.PathLike[str]") -> bool:
    """Whether the first bytes of a file are those of a picture, or cannot be read."""
    try:
        descriptor = os.open(path, _AT_ONCE)
        try:
            start = os.read(descriptor, 16)
        finally:
            os.close(descriptor)
    except OSError:
        return True
    return begins_like_a_picture(start)


class Reason(Enum):
    """Why a folder, or what a link leads to, was not looked into."""

    CLOSED = "the folder cannot be listed"
    CIRCLE = "this link leads back to a folder that it lies in"
    NOWHERE = "this link leads nowhere"


@dataclass(frozen=True)
class Skipped:
    """What could not be looked into."""

    path: str
    """The folder or link."""
    reason: Reason
    """Why."""
    detail: str = ""
    """What the system said."""

    def __str__(self) -> str:
        return self.reason.value + (f" ({self.detail})" if self.detail else "")


def files_below(folder: str | Path) -> Iterator[str | Skipped]:
    """Every file in a folder and its subfolders that is not hidden, in the order of the names.

    The files of a folder come before those of its subfolders. Links to folders are followed, but
    for those that lead back to a folder in which they lie; a folder that several links lead to
    comes once. A link that leads nowhere counts as a file if its name is that of a picture.

    Args:
        folder: where to begin; it may be a link itself.

    Yields:
        Paths that begin with `folder`, and what could not be looked into, where it was met.
    """
    start = os.fspath(folder)
    # Folders by their own paths: inodes are made up on some network disks, and not unique.
    yield from _files_below(start, os.path.realpath(start), set())


def _files_below(folder: str, real: str, seen: set[str]) -> Iterator[str | Skipped]:
    # Not recursive: a chain of folders may be longer than Python's stack.
    waiting = [(folder, real)]
    while waiting:
        folder, real = waiting.pop()
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(folder, Reason.CLOSED, error.strerror or "")
            continue
        below = []
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if is_folder(entry):
                target = _real(entry, real)
                if entry.is_symlink() and leads_back(target, real):
                    yield Skipped(entry.path, Reason.CIRCLE)
                else:
                    below.append((entry.path, target))
            elif leads_nowhere(entry) and not is_picture_name(entry.name):
                yield Skipped(entry.path, Reason.NOWHERE)
            else:
                yield entry.path
        waiting += reversed(below)


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether this is a folder or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle of links, for one
        return False


def _real(entry: "os.DirEntry[str]", real_parent: str) -> str:
    plain = not entry.is_symlink() and not getattr(entry, "is_junction", bool)()
    return os.path.join(real_parent, entry.name) if plain else os.path.realpath(entry.path)


def leads_back(target: str, real_folder: str) -> bool:
    """Whether `target` is the folder `real_folder` or one that it lies in; both without links."""
    return os.path.join(real_folder, "").startswith(os.path.join(target, ""))


def is_circle(path: str) -> bool:
    """Whether this is a link that leads back to a folder that it lies in."""
    if not os.path.islink(path):
        return False
    return leads_back(os.path.realpath(path), os.path.realpath(os.path.dirname(path)))


def leads_nowhere(entry: "os.DirEntry[str]") -> bool:
    """Whether this is a link whose target is not there, or a link in a circle of links."""
    return entry.is_symlink() and not os.path.exists(entry)
