"""What was taught, as a zip file that `edgecil learn` reads: a folder for each label.

mug/0001-3fa9c2d1.jpg
taught.json            where each picture came from, when, and which release knew its label
"""

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from edgecil_devices.class_names import folder_name
from edgecil_devices.decoders import suffix_of
from edgecil_devices.errors import StoreDamagedError, StoreWriteError, UsageError
from edgecil_devices.files import cannot_be_written, remove_leftovers, replace_atomically
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.records import TaughtPicture

PROVENANCE = "taught.json"
"""The file beside the folders."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that the same pictures give the same file."""

_Read: TypeAlias = tuple[TaughtPicture, bytes]
"""A picture and its file."""


def export_taught(overlay: Overlay, out: Path) -> tuple[dict[str, int], list[str]]:
    """Write the pictures that were taught; how many of each label, and which are damaged.

    Damaged ones are left out, and each is told in a line.

    Raises:
        UsageError: nothing is taught.
        StoreDamagedError: the list of it is altered, or every picture is damaged.
        StoreWriteError: `out` cannot be written.
    """
    pictures, damaged = _read(overlay)
    data, counts = _zipped(pictures)
    remove_leftovers(out)
    try:
        replace_atomically(out, data)
    except OSError as error:
        raise StoreWriteError(cannot_be_written(out, error)) from error
    return counts, damaged


def taught_zip(overlay: Overlay) -> tuple[bytes, dict[str, int]]:
    """The pictures that were taught as a zip file, damaged ones left out; how many of each label.

    Raises:
        UsageError: nothing is taught.
        StoreDamagedError: the list of it is altered, or every picture is damaged.
    """
    pictures, _ = _read(overlay)
    return _zipped(pictures)


def _read(overlay: Overlay) -> tuple[list[_Read], list[str]]:
    """The pictures, label by label, and a line for each that is damaged."""
    records = overlay.records()
    if not records.present:
        raise UsageError("nothing is taught here that could be exported")
    read: list[_Read] = []
    damaged: list[str] = []
    for label in records.labels:
        for one in records.of_label(label):
            try:
                read.append((one, overlay.picture(one)))
            except StoreDamagedError as error:
                damaged.append(str(error))
    if not read:
        raise StoreDamagedError(
            f"there is nothing to export: every picture in {overlay.folder} is damaged; restore "
            "the folder from a copy, or forget the labels and teach them anew"
        )
    return read, damaged


def _zipped(pictures: Iterable[_Read]) -> tuple[bytes, dict[str, int]]:
    """The zip file of pictures, and how many of each label."""
    stream = io.BytesIO()
    provenance: list[dict[str, object]] = []
    counts = Counter[str]()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for one, data in pictures:
            counts[one.label] += 1
            number = f"{counts[one.label]:04}-{one.sha256[:8]}"
            name = f"{folder_name(one.label)}/{number}{suffix_of(data)}"
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
            provenance.append(_told(one, name))
        text = json.dumps(provenance, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        # A name on an old card may be no UTF-8.
        data = text.encode(errors="backslashreplace")
        archive.writestr(zipfile.ZipInfo(PROVENANCE, _EPOCH), data)
    return stream.getvalue(), dict(counts)


def _told(one: TaughtPicture, name: str) -> dict[str, object]:
    return {
        "file": name,
        "label": one.label,
        "correction": one.correction,
        "when": one.when,
        "source": os.path.basename(one.source),
    }
