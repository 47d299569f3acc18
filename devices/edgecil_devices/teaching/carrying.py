"""What was taught, as a zip file that `edgecil learn` reads: a folder for each label.

mug/0001-3fa9c2d1.webp
taught.json            where each picture came from, when, and which release knew its label
"""

import io
import json
import os
import zipfile
from pathlib import Path

from edgecil_devices.class_names import folder_name
from edgecil_devices.decoders import suffix_of
from edgecil_devices.errors import StoreWriteError, UsageError
from edgecil_devices.files import cannot_be_written, remove_leftovers, replace_atomically
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.records import TaughtPicture

PROVENANCE = "taught.json"
"""The file beside the folders."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that the same pictures give the same file."""


def export_taught(overlay: Overlay, out: Path) -> dict[str, int]:
    """Write the pictures that were taught; how many of each label.

    Raises:
        UsageError: nothing is taught.
        StoreDamagedError: a picture is; forget its label, or restore the file.
        StoreWriteError: `out` cannot be written.
    """
    data, counts = taught_zip(overlay)
    remove_leftovers(out)
    try:
        replace_atomically(out, data)
    except OSError as error:
        raise StoreWriteError(cannot_be_written(out, error)) from error
    return counts


def taught_zip(overlay: Overlay) -> tuple[bytes, dict[str, int]]:
    """The pictures that were taught as a zip file, and how many of each label.

    Raises:
        UsageError: nothing is taught.
        StoreDamagedError: a picture is; forget its label, or restore the file.
    """
    records = overlay.records()
    if not records.present:
        raise UsageError("nothing is taught here that could be exported")
    stream = io.BytesIO()
    provenance, counts = [], {}
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for label in records.labels:
            for number, one in enumerate(records.of_label(label), 1):
                data = overlay.picture(one)
                name = f"{folder_name(label)}/{number:04}-{one.sha256[:8]}{suffix_of(data)}"
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
                provenance.append(_told(one, name))
                counts[label] = number
        text = json.dumps(provenance, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        # A name on an old card may be no UTF-8.
        data = text.encode(errors="backslashreplace")
        archive.writestr(zipfile.ZipInfo(PROVENANCE, _EPOCH), data)
    return stream.getvalue(), counts


def _told(one: TaughtPicture, name: str) -> dict[str, object]:
    return {
        "file": name,
        "label": one.label,
        "correction": one.correction,
        "when": one.when,
        "source": os.path.basename(one.source),
    }
