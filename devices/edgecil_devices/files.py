"""Files that are either wholly the old ones or wholly the new ones, whatever happens in between."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` (creations, renames, deletions) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write `data` to `path` and wait until the disk has it.

    Raises:
        OSError: the disk is full or failing; a partial file may remain under `path`.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_atomically(path: Path, data: bytes) -> None:
    """Give `path` the content `data`, so that a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or failing; the old file is untouched and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
