"""The folder of a store: where its files are, its lock, its blobs, and what of them is garbage."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgecil_devices.blobs import MAX_BLOB_BYTES
from edgecil_devices.errors import (
    BundleCorruptError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreWriteError,
)
from edgecil_devices.files import cannot_be_written, make_folder, sync_folder, write_synced
from edgecil_devices.locks import LockHeldError, locked
from edgecil_devices.manifest import Manifest
from edgecil_devices.output import typed
from edgecil_devices.package import is_run
from edgecil_devices.store.records import (
    Release,
    StoreState,
    damaged,
    read_bounded,
    read_checked,
    write_checked,
)

SPARE_BYTES = 2**20
"""Left free by an update, for the file system's own records."""

_BLOCK_BYTES = 4096
_LEFTOVER = re.compile(r"\.(state\.json|current|arrangements\.json)\.\d+|\.[0-9a-f]{64}")
TAUGHT = "taught"
"""The folder of what was taught; it outlives releases, and `edgecil_devices.teaching` writes it."""

_NAMES = {"lock", "state.json", "current", "blobs", "incoming", "arrangements.json", TAUGHT}


def damaged_blob(path: Path) -> StoreDamagedError:
    """The error for a blob that is altered, missing or in a bad sector."""
    return damaged(path, "install the whole bundle of its release again")


class Folder:
    """A store's folder. Its methods that write need the lock.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_file = path / "state.json"
        self.current_file = path / "current"
        self.blobs = path / "blobs"
        self.incoming = path / "incoming"

    @property
    def exists(self) -> bool:
        """Whether a store was made here; one that has lost its state is damaged, and no new one."""
        return self.state_file.exists() or self.current_file.is_file()

    def require(self) -> None:
        """Check that a store is here.

        Raises:
            StoreError: there is none.
        """
        if self.exists:
            return
        if is_run(self.path):
            raise StoreError(
                f"{self.path} is a run, not a store; run: edgecil export {typed(self.path)}"
            )
        if self.path.is_file():
            raise StoreError(
                f"{self.path} is a file, not a store; "
                f"run: edgecil install {typed(self.path)} --store DIR"
            )
        raise StoreError(
            f"{self.path} is not a store; run: edgecil install BUNDLE --store {typed(self.path)}"
        )

    def require_free(self) -> None:
        """Check that a store can be made here.

        Raises:
            StoreError: something else is in the folder, or it is a file.
        """
        if self.path.is_file():
            raise StoreError(f"{self.path} is a file; give --store a new folder")
        if not self.path.is_dir():
            return
        foreign = {
            name for name in os.listdir(self.path) if name not in _NAMES and not _is_leftover(name)
        }
        if foreign:
            raise StoreError(
                f"{self.path} is not empty ({min(foreign)}); give --store a new folder"
            )

    def create(self, state: StoreState) -> None:
        """Make an empty store; its keys, and whether it may be taught, are in its very first file.

        Raises:
            StoreError: something else is in the folder.
            OSError: the disk is full or failing.
        """
        self.require_free()
        make_folder(self.blobs)
        state.write(self.state_file)

    @contextmanager
    def locked(self, *, make: bool = False) -> Iterator[None]:
        """Hold the store alone; the lock ends with the process, however that ends.

        Args:
            make: make the folder if there is none.

        Raises:
            StoreBusyError: another process holds it.
            StoreWriteError: the folder cannot be written.
        """
        if make and not self.exists:
            with write_errors(self.path):
                make_folder(self.path)
        with held_alone(self.path, "the store"):
            yield

    def current(self) -> Release | None:
        """The release that readers load; None if there is none yet, or the file is missing.

        Raises:
            StoreDamagedError: the file that says so is altered.
        """
        try:
            return Release.from_dict(read_checked(self.current_file))
        except FileNotFoundError:
            return None
        except (StoreDamagedError, BundleCorruptError) as error:
            raise damaged(self.current_file, "the next install or update puts it right") from error

    def without_current(self) -> StoreDamagedError:
        """The error for a store that has a release and not the file that says so."""
        return StoreDamagedError(
            f"{self.current_file} is missing; the next install or update puts it right"
        )

    def point_to(self, release: Release | None) -> None:
        """Make `release` current, in one step.

        Raises:
            OSError: the disk is full or failing.
        """
        if release is not None:
            write_checked(self.current_file, release.to_dict())
        elif self.current_file.exists():
            self.current_file.unlink()
            sync_folder(self.path)

    def blob(self, sha256: str, size_bytes: int = MAX_BLOB_BYTES) -> bytes:
        """The content of a blob, every byte of it checked.

        Raises:
            StoreDamagedError: it is altered or lies in a bad sector.
            FileNotFoundError: it is not here.
            OSError: it may not be read, or not now.
        """
        path = self.blobs / sha256
        data = read_bounded(path, size_bytes, damaged_blob(path))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged_blob(path)
        return data

    def manifest(self, release: Release) -> Manifest:
        """The manifest of a release.

        Raises:
            StoreDamagedError: it is altered or lies in a bad sector.
            FileNotFoundError: it is not here.
            OSError: it may not be read, or not now.
        """
        return Manifest.from_json(self.blob(release.manifest))

    def has(self, sha256: str) -> bool:
        """Whether a blob is here and sound; a damaged one is written anew."""
        with contextlib.suppress(FileNotFoundError, StoreDamagedError):
            self.blob(sha256)
            return True
        return False

    def add_blobs(self, contents: Mapping[str, bytes]) -> int:
        """Write blobs, and wait until the disk has them and their names; how many bytes those were.

        Args:
            contents: by sha256; those that are here and sound are left alone.

        Raises:
            StoreWriteError: there is not enough room; nothing was written.
            OSError: the disk is full or failing; what was written is garbage.
        """
        missing = {name: data for name, data in contents.items() if not self.has(name)}
        require_room(self.path, missing)
        write_files(self.blobs, missing)
        return sum(map(len, missing.values()))

    def collect(self, keep: set[Release]) -> int:
        """Delete what nothing refers to any more; how many bytes that were.

        Args:
            keep: the releases to keep, with all their blobs.

        Raises:
            StoreDamagedError: a manifest to keep cannot be read; nothing was deleted.
            OSError: the disk is failing.
        """
        wanted: set[str] = set()
        for release in keep:
            wanted.add(release.manifest)
            wanted.update(blob.sha256 for blob in self.manifest(release).blobs)
        freed_bytes = 0
        for folder in (self.path, self.blobs):
            garbage = [
                name
                for name in os.listdir(folder)
                if _is_leftover(name) or (folder == self.blobs and name not in wanted)
            ]
            freed_bytes += remove_files(folder, garbage)
        return freed_bytes


def _is_leftover(name: str) -> bool:
    """Whether a crash left this file before it had its name."""
    return bool(_LEFTOVER.fullmatch(name))


@contextmanager
def held_alone(folder: Path, whole: str) -> Iterator[None]:
    """Hold the lock of a folder; it ends with the process, however that ends.

    Args:
        folder: is there.
        whole: what the folder belongs to, for people: what to move where there are no locks.

    Raises:
        StoreBusyError: another process holds it.
        StoreWriteError: the folder cannot be written.
    """
    with ExitStack() as held:
        try:
            with write_errors(folder):
                known = held.enter_context(locked(folder / "lock"))
        except LockHeldError as error:
            raise StoreBusyError(
                f"{folder} is being changed by {error.holder}; try again later"
            ) from None
        if not known:
            raise StoreWriteError(
                f"{folder} is on a file system without locks; put {whole} on another one"
            )
        yield


def require_room(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Check that files of these contents can be written into a folder.

    Raises:
        StoreWriteError: the disk is too full.
    """
    needed = sum(-(-len(data) // _BLOCK_BYTES) * _BLOCK_BYTES for data in contents.values())
    if contents:
        require_free(folder, needed + SPARE_BYTES)


def require_free(folder: Path, needed_bytes: int) -> None:
    """Check that so many bytes are free on the disk of a folder.

    Raises:
        StoreWriteError: they are not.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise StoreWriteError(
            f"{folder} needs {needed_bytes} bytes, and {free_bytes} are free; make room"
        )


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by their names, each whole or not at all, and wait until the disk has them.

    Raises:
        OSError: the disk is full or failing; what was written has its name, or begins with a dot.
    """
    for name, data in contents.items():
        partial = folder / f".{name}"
        write_synced(partial, data)
        partial.replace(folder / name)
    sync_folder(folder)


def remove_files(folder: Path, names: Iterable[str]) -> int:
    """Delete files, those that are still there, and wait until the disk knows; how many bytes.

    Raises:
        OSError: the disk is failing.
    """
    paths = [folder / name for name in names]
    freed_bytes = 0
    for path in paths:
        # A reader that keeps features or arrangements may take its own file away meanwhile.
        with contextlib.suppress(FileNotFoundError):
            size_bytes = path.stat().st_size
            path.unlink()
            freed_bytes += size_bytes
    if paths:
        sync_folder(folder)
    return freed_bytes


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Tell what keeps a store from being written.

    Raises:
        StoreWriteError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreWriteError(cannot_be_written(path, error)) from error
