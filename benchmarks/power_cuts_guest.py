"""What `power_cuts.sh` runs inside the emulated machine.

    python3 power_cuts_guest.py write|check synced|unsynced

`write` installs one release after the other until the power goes, and reports each on the console.
`check` reads, recovers, checks and updates, as the next start of a device would.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecil_devices.blobs import Blob
from edgecil_devices.errors import EdgecilError
from edgecil_devices.package import pack, read_package
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.records import Release
from edgecil_devices.store.updating import Updater

STORE = Path("/data/store")
PACKAGE = Path("/tmp/release.edgecil")  # in memory, so that only the store is written
HEAD_BYTES = 200_000


def make(number: int) -> Path:
    """A release with a head of its own."""
    package = read_package("template.edgecil")
    blobs = {blob.name: package.blobs[blob.sha256] for blob in package.manifest.blobs}
    old = package.manifest.head
    blobs[old.name] = np.random.default_rng(number).bytes(HEAD_BYTES)
    listed = [
        Blob.of(b.name, b.role, blobs[b.name]) if b == old else b for b in package.manifest.blobs
    ]
    manifest = replace(package.manifest, blobs=tuple(listed), release=number)
    PACKAGE.write_bytes(pack(manifest, blobs))
    return PACKAGE


def passes(store: Path, release: Release) -> str | None:
    """A self-test that only reads."""
    try:
        read_release(store, release)
    except EdgecilError as error:
        return str(error)
    return None


def sectors_written() -> int:
    """Of 512 bytes, by the disk since it was switched on."""
    disk = next(p for p in Path("/sys/block").iterdir() if p.name in ("vda", "mmcblk0"))
    return int((disk / "stat").read_text().split()[6])


def write() -> None:
    """Install one release after the other."""
    number = read_current(STORE).release.number if Folder(STORE).exists else 0
    while True:
        number += 1
        path = make(number)
        before = sectors_written()
        install(path, STORE, test=passes)
        print("ACK", number, "sectors", sectors_written() - before, flush=True)


def look() -> None:
    """Say what is in the store, and whether it still works."""
    try:
        reading = read_current(STORE)
        if reading.warning:
            raise EdgecilError(reading.warning)
        with Folder(STORE).locked():
            recovered = Updater(Folder(STORE), passes).recovered
        if problems := check(STORE):
            raise EdgecilError(problems[0])
        found = read_current(STORE).release.number
        install(make(found + 1), STORE, test=passes)
        print("CHECK whole", reading.release.number, recovered or "nothing to recover", flush=True)
    except (EdgecilError, OSError) as error:
        print("CHECK broken", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "unsynced":
        os.fsync = lambda descriptor: None  # type: ignore[assignment]
    write() if sys.argv[1] == "write" else look()
