"""Where pictures come from: files, folders, patterns, standard input, the network, cameras.

Everything here is an iterator of named pictures, read when they are asked for and never kept. What
cannot be read is an item too, so that one bad picture never stops the rest.
"""

import glob
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from edgecil_devices.camera import Frame, camera_frames, is_camera
from edgecil_devices.download import SCHEMES, download, shown
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.images import read_file
from edgecil_devices.picture_files import (
    PICTURE_SUFFIXES,
    Reason,
    Skipped,
    files_below,
    is_circle,
    is_picture_file,
)
from edgecil_devices.watch import Watch

STANDARD_INPUT = "-"
"""The source that stands for paths on standard input."""


@dataclass(frozen=True)
class Picture:
    """One picture, read but not decoded."""

    name: str
    """A path, an address without a password, or `camera:0#7` for the seventh frame."""
    data: bytes | Frame
    """The bytes of its file, or an RGB frame of uint8 (H, W, 3)."""
    load_ms: float
    """Milliseconds that reading, downloading or waiting for it took."""


@dataclass(frozen=True)
class Unreadable:
    """A source that gives no picture."""

    name: str
    """As of a picture."""
    error: str
    """What is wrong and what to do about it, without the name."""


Item: TypeAlias = Picture | Unreadable


def is_endless(sources: Sequence[str], watched: Path | None) -> bool:
    """Whether these sources go on until somebody ends them: a camera, a watched folder.

    Raises:
        UsageError: there is no source at all, or one after an endless one.
    """
    if not sources and watched is None:
        raise UsageError("give pictures: files, folders, patterns, -, addresses, camera or --watch")
    cameras = [source for source in sources if is_camera(source)]
    if cameras and (len(sources) > 1 or watched is not None):
        raise UsageError(f"{cameras[0]} does not end, so give it alone")
    return bool(cameras) or watched is not None


def _own_standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("standard input is closed; give the paths as arguments")
    return sys.stdin.buffer


def pictures_of(
    sources: Sequence[str],
    watched: Path | None,
    standard_input: Callable[[], BinaryIO] = _own_standard_input,
) -> Iterator[Item]:
    """The pictures of all sources, in their order, then those that appear in a watched folder.

    Args:
        sources: files, folders (with their subfolders, what `picture_files` counts as pictures),
            glob patterns, `-`, http and https addresses; or `camera`, `camera:N`,
            `csi` or `csi:N` alone.
        watched: a folder; the pictures that it gets from now on.
        standard_input: gives the stream for `-`, which has a path or address a line.

    Raises:
        UsageError: the sources do not fit together, or `watched` is no folder; while iterating:
            standard input is closed.
        EdgecilError: while iterating: a camera or the watched folder has gone.
    """
    is_endless(sources, watched)
    watch = None if watched is None else Watch(watched)  # before the sources, so that none is lost
    return _pictures_of(sources, watch, standard_input)


def _pictures_of(
    sources: Sequence[str], watch: Watch | None, standard_input: Callable[[], BinaryIO]
) -> Iterator[Item]:
    for source in sources:
        if source == STANDARD_INPUT:
            for line in standard_input():
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from _of_path(path)
        elif is_camera(source):
            yield from _of_camera(source)
        else:
            yield from _of_path(source)
    if watch:
        for file in watch.pictures():
            yield _of_file(str(file))


def _of_path(path: str) -> Iterator[Item]:
    """The pictures that one word means; a name that exists is never taken for a pattern."""
    if path.lower().startswith(SCHEMES):
        yield _load(shown(path), lambda: download(path))
    elif os.path.isdir(path):
        yield from _of_folder(path)
    elif glob.has_magic(path) and not os.path.lexists(path):
        yield from _of_pattern(path)
    else:
        yield _of_file(path)


def _of_file(path: str) -> Item:
    return _load(path, lambda: read_file(Path(path)))


def _of_folder(folder: str) -> Iterator[Item]:
    skipped: list[Skipped] = []
    found = False
    for file in files_below(folder):
        if isinstance(file, Skipped):
            skipped.append(file)
        elif is_picture_file(file):
            found = True
            yield _of_file(file)
    # What a circle leads back to is listed anyhow.
    lost = [one for one in skipped if one.reason is not Reason.CIRCLE]
    for one in lost:
        yield Unreadable(one.path, str(one))
    if not found and not lost:
        yield Unreadable(folder, f"no pictures in this folder ({' '.join(PICTURE_SUFFIXES)})")


def _of_pattern(pattern: str) -> Iterator[Item]:
    paths = sorted(glob.iglob(pattern, recursive=True))
    if not paths:
        yield Unreadable(pattern, "no file has a name like this; check the pattern")
    told: set[str] = set()  # folders, with all that lies below them
    for path in paths:
        if not told.isdisjoint(_folders_of(path)) or any(map(is_circle, _folders_of(path))):
            continue
        if os.path.isdir(path):
            told.add(os.path.normpath(path))
            yield from _of_folder(path)
        else:
            yield _of_file(path)


def _folders_of(path: str) -> list[str]:
    """The folders that a path goes through, and itself."""
    whole = os.path.normpath(path)
    return [whole, *map(str, Path(whole).parents)]


def _of_camera(word: str) -> Iterator[Item]:
    name = "camera:0" if word == "camera" else word
    start = time.perf_counter()
    with closing(camera_frames(word)) as frames:
        for number, frame in enumerate(frames, 1):
            yield Picture(f"{name}#{number}", frame, (time.perf_counter() - start) * 1e3)
            start = time.perf_counter()


def _load(name: str, read: Callable[[], bytes]) -> Item:
    start = time.perf_counter()
    try:
        data = read()
    except ImageError as error:
        return Unreadable(name, str(error))
    return Picture(name, data, (time.perf_counter() - start) * 1e3)
