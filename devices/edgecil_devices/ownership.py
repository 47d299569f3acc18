"""What root makes in another user's folder belongs to that user, who is to go on with it.

A service has its store as a user of its own, and a person may work there with sudo: a folder or a
lock of root's would keep that service from ever writing again.
"""

import os
from contextlib import suppress
from pathlib import Path


def opened(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Like `os.open`, and the opener of `open`: a file that this makes is its folder's owner's.

    Raises:
        OSError: it cannot be opened.
    """
    owner = _other_owner(Path(path).parent) if flags & os.O_CREAT else None
    if owner is None:
        return os.open(path, flags, mode)
    try:
        # What lies there already, or where a link leads, may be root's for a reason.
        descriptor = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)
    _give(descriptor, owner)
    return descriptor


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there, which is that of the owner of the folder it lies in.

    Raises:
        OSError: it cannot be made, or a file has this name.
    """
    owner = _other_owner(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    if owner is not None:
        # Not by its name, which the owner may have put elsewhere meanwhile.
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _give(descriptor, owner)
        finally:
            os.close(descriptor)


def _other_owner(folder: Path) -> tuple[int, int] | None:
    """User and group of a folder that is not root's, where root is at work; else None."""
    if os.geteuid() != 0:
        return None
    with suppress(OSError):  # whoever makes something there is told
        found = folder.stat()
        if found.st_uid != 0:
            return found.st_uid, found.st_gid
    return None


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    with suppress(OSError):  # not every file system keeps owners
        os.fchown(descriptor, *owner)
