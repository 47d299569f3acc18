"""Updates of a store for `power_cuts_guest.py`: step N installs release N, with a head of its own.

The self-test in these updates only reads the release: it is not what is tested here.
"""

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


def step(number: int) -> None:
    """Install the release of this number."""
    install(make(number), STORE, test=passes)


def look(last: int) -> tuple[int, str]:
    """The release that a reader gets, and what the next updater had to do.

    Raises:
        EdgecilError, OSError: it is older than `last`, or something is not whole.
    """
    reading = read_current(STORE)
    if reading.warning:
        raise EdgecilError(reading.warning)
    if reading.release.number < last:
        raise EdgecilError(f"release {reading.release.number} is current, and {last} was reported")
    with Folder(STORE).locked():
        recovered = Updater(Folder(STORE), passes).recovered
    if problems := check(STORE):
        raise EdgecilError(problems[0])
    return read_current(STORE).release.number, recovered or ""


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
