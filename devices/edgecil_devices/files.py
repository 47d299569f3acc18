"""Files that are either wholly the old ones or wholly the new ones, whatever happens in between."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecil_devices import ownership
from edgecil_devices.locks import is_alive

FULL = {errno.ENOSPC, errno.EDQUOT}
"""What the system answers where the disk, or a person's share of it, is full."""

_REMEDIES = {
    **dict.fromkeys(FULL, "make room"),
    errno.EROFS: "mount it writable",
    errno.EACCES: "run as the user who owns it, with sudo for example",
    errno.EPERM: "run as the user who owns it, with sudo for example",
}


def cannot_be_written(path: Path, error: OSError) -> str:
    """Why `path` cannot be written and what to do, as the message of an error."""
    remedy = _REMEDIES.get(error.errno or 0, "check the disk")
    return f"{path} cannot be written ({error.strerror or error}); {remedy}"


def told(error: OSError) -> str:
    """An error of the system as a person is told of it: the file, and what is wrong with it."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
    return f"{error.filename or 'a file'}: {reason}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let every OSError of the block name `path`: one of a write names no file by itself."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` (creations, renames, deletions) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut.

    One that is there already is confirmed too: whoever made it may have been killed just then.
    Whose a new one is: see `ownership`.

    Raises:
        OSError: the disk is full or failing, or a file has this name.
    """
    if not path.parent.exists():
        make_folder(path.parent)
    ownership.make_folder(path)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write `data` to `path` and wait until the disk has it; whose a new file is: see `ownership`.

    Raises:
        OSError: the disk is full or failing; a partial file may remain under `path`.
    """
    with naming(path), open(path, "wb", opener=ownership.opened) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def temporary_of(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes had written that was to become `path`.

    For files whose place a person chooses: nobody else clears up there. It only makes room, so
    failing is no failure.
    """
    form = re.compile(re.escape(f".{path.name}.") + "([0-9]{1,7})")  # no process has more digits
    with suppress(OSError):
        for name in os.listdir(path.parent):
            found = form.fullmatch(name)
            if found and not is_alive(int(found[1])):
                path.with_name(name).unlink(missing_ok=True)


def replace_atomically(path: Path, data: bytes) -> None:
    """Give `path` the content `data`, so that a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or failing; the old file is untouched and nothing is left behind.
    """
    temporary = temporary_of(path)
    try:
        with naming(path):
            write_synced(temporary, data)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
