"""What a device was taught, as `edgecil taught export` writes it: a zip file, made a folder.

The file may come from anywhere, so nothing in it is believed: names that lead elsewhere, links, and
more or larger files than a device can have are refused before anything is written.
"""

import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from edgecil.errors import DataError
from edgecil_devices.class_names import composed, fault_of
from edgecil_devices.images import MAX_FILE_BYTES
from edgecil_devices.teaching.carrying import PROVENANCE

MOST_FILES = 20_000
"""A device is taught 2,000 pictures at most."""

MOST_BYTES = 2 * 2**30
"""Of all pictures, unpacked."""

_PLACE = re.compile(r"\.?taught-[0-9a-f]{12}")
"""What `place_in` gives; with a dot before it where unpacking was cut short."""


@dataclass(frozen=True)
class Unpacked:
    """What a zip file came to."""

    folder: Path
    """With a folder for each class that is new."""
    corrections: dict[str, int]
    """Pictures that were left out by class: the run knows it, and learns new classes only."""


def is_taught_zip(data: str) -> bool:
    """Whether data that a person names is such a file."""
    return data.lower().endswith(".zip") and Path(data).is_file()


def is_unpacked(data: str) -> bool:
    """Whether data that a person names have been unpacked from such a file, by their name."""
    return _PLACE.fullmatch(Path(data).absolute().name) is not None


def place_in(folder: Path, sha256: str) -> Path:
    """Where in the folder of a run the file of this digest is unpacked."""
    return folder / f"taught-{sha256[:12]}"


def place_now(folder: Path, data: str) -> str:
    """Where a run's data are: what was unpacked in its folder moves with it.

    Args:
        folder: the run's, as it is now.
        data: as the run has kept it.
    """
    here = folder.absolute() / Path(data).name
    return str(here) if is_unpacked(data) and here.is_dir() and not Path(data).is_dir() else data


def remove_unpacked(folder: Path, but: Iterable[str]) -> None:
    """Delete what has been unpacked in the folder of a run, but for the folders of these paths.

    A run may have been moved since, so they are known by their names.
    """
    kept = {Path(path).absolute().name for path in but}
    for path in folder.iterdir():
        if is_unpacked(str(path)) and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def unpacked(file: Path, into: Path, known: Collection[str]) -> Unpacked:
    """Unpack what a device was taught; a folder that is there from before is kept as it is.

    Args:
        file: the zip file.
        into: the folder to make, with a folder for every new class.
        known: names of the classes that the run has learned.

    Raises:
        DataError: it is no such file, or one that must not be unpacked, or has no new class.
    """
    names = set(map(composed, known))
    try:
        with zipfile.ZipFile(file) as archive:
            pictures = _checked(archive, file)
            left_out = Counter(label for label, _ in pictures if label in names)
            new = [(label, info) for label, info in pictures if label not in names]
            if not new:
                raise DataError(
                    f"{file} has pictures of known classes and nothing new; leave it out: what "
                    "was taught as a correction stays one on the device"
                )
            if not into.is_dir():
                _unpack(archive, new, into)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise DataError(
            f"{file} cannot be unpacked ({error}); export it once more: edgecil taught export"
        ) from error
    return Unpacked(into, dict(left_out))


def _checked(archive: zipfile.ZipFile, file: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Every picture with its label, once it is known that all may be unpacked."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise DataError(
            f"{file} is larger than anything a device is taught: at most {MOST_FILES} pictures "
            f"and {MOST_BYTES:,} bytes; give a folder instead"
        )
    if len({info.filename.casefold() for info in infos}) != len(infos):
        raise _refused(file, "it has two files of one name")
    found = []
    for info in infos:
        if info.filename == PROVENANCE:
            continue
        path = PurePosixPath(info.filename)
        folder = path.parts[0] if len(path.parts) == 2 else ""
        hidden = path.name.startswith(".") or folder.startswith(".")
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        strange = "\\" in info.filename or "\0" in info.filename or ".." in path.parts
        if not folder or folder.startswith("/") or strange or hidden or is_link:
            raise _refused(file, f"{info.filename!r} is no picture in the folder of a class")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(file, f"{info.filename!r} is packed in a way that is not usual")
        if info.file_size > MAX_FILE_BYTES:
            raise _refused(file, f"{info.filename!r} is larger than any picture that is read")
        label = composed(unquote(folder))
        if fault := fault_of(label):
            raise _refused(file, f"{folder!r} cannot be a class: {fault}")
        found.append((label, info))
    if not found:
        raise _refused(file, "there are no pictures in it")
    return found


def _unpack(
    archive: zipfile.ZipFile, pictures: list[tuple[str, zipfile.ZipInfo]], into: Path
) -> None:
    """Write the pictures; the folder gets its name when it is whole."""
    partial = into.with_name(f".{into.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for label, info in pictures:
            # A folder's name may hold anything but a slash, and hidden ones are no classes.
            plain = "/" not in label and not label.startswith(".")
            folder = partial / (label if plain else PurePosixPath(info.filename).parts[0])
            folder.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as packed:
                data = packed.read(info.file_size + 1)
            if len(data) != info.file_size:
                raise zipfile.BadZipFile(f"{info.filename!r} is not as long as the file says")
            (folder / PurePosixPath(info.filename).name).write_bytes(data)
        partial.rename(into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refused(file: Path, why: str) -> DataError:
    return DataError(f"{file} is not what a device was taught: {why}")
