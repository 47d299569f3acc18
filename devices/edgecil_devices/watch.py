"""Pictures that appear in a folder, by looking now and then: no package, and hardly any work.

Every look costs one stat of the folder. Only when that shows a change is the folder listed, and
files that are known already are not touched even then. A file that is overwritten in place does not
change its folder, so at times every file is looked at, and the larger the folder the rarer.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edgecil_devices.errors import EdgecilError, UsageError
from edgecil_devices.picture_files import is_picture_file, is_picture_name, may_be_picture_name

POLL_S = 0.25
"""Between two looks at the folder."""

SETTLE_S = 1.0
"""A file is complete when its size and time of change have stayed the same for so long."""

EMPTY_S = 10.0
"""An empty file waits so long for its content before it counts, and is then refused."""

_THOROUGH_SHARE = 0.004
"""Looking at every file may cost this share of a processor core, and happens once a second at
most."""


class _Version(NamedTuple):
    """What tells one content under a name from the next."""

    inode: int
    size_bytes: int
    changed_ns: int

    def same_content(self, other: "_Version") -> bool:
        """Without the inode: FAT, on memory cards and sticks, makes up new ones at times."""
        return self[1:] == other[1:]


class Watch:
    """Finds the pictures that are new in a folder since the watch began.

    Args:
        folder: looked at itself, without its subfolders.

    Raises:
        UsageError: this is no folder, or it cannot be listed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: dict[str, _Version] = {}
        self._arriving: dict[str, tuple[_Version, float]] = {}
        self._folder_changed_ns = 0
        self._thorough_at_s = 0.0
        try:
            files = self._files()
        except OSError as error:
            raise UsageError(
                f"--watch {folder}: {error.strerror}; give a folder that exists"
            ) from None
        for name, entry in files.items():
            with suppress(OSError):  # gone since it was listed
                self._told[name], _ = _version(entry)

    def pictures(self) -> Iterator[Path]:
        """Each new picture once it is complete, and again whenever its name gets new content.

        Raises:
            EdgecilError: the folder has gone.
        """
        while True:
            try:
                found = self.look(time.monotonic())
            except OSError as error:
                raise EdgecilError(
                    f"{self.folder} cannot be watched any more: {error.strerror}"
                ) from None
            yield from found
            if not found:
                time.sleep(POLL_S)

    def look(self, now_s: float) -> list[Path]:
        """The pictures that are complete now and were not told before, oldest first.

        Args:
            now_s: seconds on a clock that never goes back.

        Raises:
            OSError: the folder cannot be listed.
        """
        folder_changed_ns = self.folder.stat().st_mtime_ns
        thorough = now_s >= self._thorough_at_s
        if not (thorough or self._arriving or folder_changed_ns != self._folder_changed_ns):
            return []
        self._folder_changed_ns = folder_changed_ns
        before_s = time.thread_time()
        ready = self._look_at_files(now_s, thorough)
        if thorough:
            cost_s = time.thread_time() - before_s
            self._thorough_at_s = now_s + max(1.0, cost_s / _THOROUGH_SHARE)
        return [self.folder / name for _, name in sorted(ready)]

    def _look_at_files(self, now_s: float, thorough: bool) -> list[tuple[int, str]]:
        """Time of change and name of every file that has become complete."""
        files = self._files()
        # A name without an ending may have been that of a file in the making, told half-written:
        # once it is renamed, it is told again.
        vanished = {name: self._told.pop(name) for name in self._told.keys() - files.keys()}
        gone = {version for name, version in vanished.items() if is_picture_name(name)}
        for name in self._arriving.keys() - files.keys():
            del self._arriving[name]

        ready = []
        for name, entry in files.items():
            told = self._told.get(name)
            is_known = told is not None and told.inode == entry.inode()
            if is_known and name not in self._arriving and not thorough:
                continue
            try:
                version, needed_s = _version(entry)
            except OSError:  # gone since it was listed
                continue
            if version in gone or (told and told.same_content(version)):  # gone: only renamed
                self._told[name] = version
                self._arriving.pop(name, None)
                continue
            before, since_s = self._arriving.get(name, (version, now_s))
            if before != version:
                since_s = now_s
            self._arriving[name] = (version, since_s)
            if now_s - since_s >= needed_s:
                del self._arriving[name]
                self._told[name] = version
                if is_picture_file(entry.path):
                    ready.append((version.changed_ns, name))
        return ready

    def _files(self) -> dict[str, "os.DirEntry[str]"]:
        with os.scandir(self.folder) as entries:
            return {
                entry.name: entry
                for entry in entries
                if may_be_picture_name(entry.name) and _is_file(entry)
            }


def _version(entry: "os.DirEntry[str]") -> tuple[_Version, float]:
    """The version, and for how many seconds it must stay so to be complete."""
    status = os.stat(entry.path)  # the entry's own stat would keep its first answer
    version = _Version(status.st_ino, status.st_size, status.st_mtime_ns)
    if version.size_bytes == 0:
        return version, EMPTY_S
    # Writing sets both times to the same; renaming a finished file sets the second alone.
    is_renamed = status.st_ctime_ns > status.st_mtime_ns
    return version, POLL_S if is_renamed else SETTLE_S


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle, for one
        return False
