"""What is current in a store, for those who only read it. Nothing here writes or takes the lock."""

from dataclasses import dataclass
from pathlib import Path

from edgecil_devices.bundle import Bundle, assemble, read_bundle
from edgecil_devices.errors import BundleError, StoreDamagedError, StoreError
from edgecil_devices.manifest import Manifest
from edgecil_devices.output import typed
from edgecil_devices.store.folder import Folder, damaged_blob
from edgecil_devices.store.records import Release, StoreState

_MOST_CHANGES = 10
"""Updates that may finish while one release is read; each takes seconds, reading does not."""


@dataclass(frozen=True)
class Reading:
    """A release that was read whole."""

    bundle: Bundle
    """Every byte of it checked."""
    release: Release
    """Which it is."""
    warning: str | None = None
    """Why it is not the current one, if it is not."""


def open_bundle(path: str | Path) -> Bundle:
    """The bundle in a file, or the current one of a store.

    Raises:
        BundleError: there is none, or it is damaged.
        StoreError: the store is empty or damaged.
    """
    folder = Folder(Path(path))
    return read_current(folder.path).bundle if folder.exists else read_bundle(path)


def read_current(store: Path) -> Reading:
    """The current release of a store, or the newest sound one if that is damaged or unknown.

    Raises:
        StoreError: there is no store, no release in it, or none that is sound.
    """
    folder = Folder(store)
    folder.require()
    try:
        release = _current(folder)
        for _ in range(_MOST_CHANGES):
            try:
                return Reading(read_release(store, release), release)
            except StoreDamagedError:
                # Two updates since `current` was read have deleted its blobs: read the newer one.
                now = folder.current()
                if now is None or now == release:
                    raise
                release = now
        raise StoreError(f"{store} changes faster than it can be read; look at its updates")
    except (StoreDamagedError, BundleError) as error:
        return _fall_back(folder, error)


def _current(folder: Folder) -> Release:
    """The release that is current.

    Raises:
        StoreError: none was ever committed.
        StoreDamagedError: what says which it is, is lost or altered.
    """
    if (release := folder.current()) is not None:
        return release
    committed = StoreState.read(folder.state_file).committed
    if (release := folder.current()) is not None:  # the first install has just ended
        return release
    if committed is not None:
        raise folder.without_current()
    raise StoreError(
        f"{folder.path} is empty; run: edgecil install BUNDLE --store {typed(folder.path)}"
    )


def read_release(store: Path, release: Release) -> Bundle:
    """One release of a store.

    Raises:
        StoreDamagedError: a blob is altered or missing.
        BundleError: the blobs are not those of a bundle.
    """
    folder = Folder(store)
    try:
        manifest_json = folder.blob(release.manifest)
        manifest = Manifest.from_json(manifest_json)
        blobs = {b.sha256: folder.blob(b.sha256, b.size_bytes) for b in manifest.blobs}
    except FileNotFoundError as error:
        raise damaged_blob(Path(error.filename)) from error
    return assemble(manifest_json, blobs, f"{store} (release {release.number})")


def _fall_back(folder: Folder, error: StoreDamagedError | BundleError) -> Reading:
    """The newest sound release that was committed, with the reason."""
    try:
        state = StoreState.read(folder.state_file)
    except (OSError, StoreDamagedError):
        raise error from None
    for release in (state.committed, state.previous):
        try:
            if release:
                warning = f"{error}; going on with release {release.number}"
                return Reading(read_release(folder.path, release), release, warning)
        except (StoreDamagedError, BundleError):
            continue
    raise error
