"""A store's verbs for `crash_points.py`: install, update and rollback.

After every point the store holds the old release or the new one, whole; a reader gets it at once;
and the next updater finishes or undoes the rest.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edgecil_devices.errors import EdgecilError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.records import Release
from edgecil_devices.store.update import update
from edgecil_devices.store.updating import Updater

Case = tuple[str, tuple[str, ...], Path, Callable[[Path], str]]
"""Name, arguments, folder before, and check: the fields of a `crash_points.Verb`."""


def cases(first: Path, following: Path, folder: Path) -> Iterator[Case]:
    """The verbs, each with a folder that has its store in `store`.

    Args:
        first: bundle of release 1.
        following: update to release 2.
        folder: where to make them.
    """
    none, one, two = folder / "none", folder / "one", folder / "two"
    none.mkdir(parents=True)
    one.mkdir()
    install(first, one / "store", test=passes)
    shutil.copytree(one, two)
    update(following, two / "store", test=passes)
    for name, file, before, old, new in (
        ("install", (str(first),), none, None, 1),
        ("update", (str(following),), one, 1, 2),
        ("rollback", (), two, 2, 1),
    ):
        arguments = (name, *file, "--store", "store")
        yield name, arguments, before, partial(require_working, old=old, new=new)


def passes(store: Path, release: Release) -> str | None:
    """A self-test that only reads: what is tried here is what has been written."""
    try:
        read_release(store, release)
    except EdgecilError as error:
        return str(error)
    return None


def require_working(at: Path, old: int | None, new: int) -> str:
    """Read, recover, check; what the reader got before anything was recovered.

    Raises:
        EdgecilError: something is not as it must be.
    """
    store = at / "store"
    found = current(store)
    if found not in (old, new):
        raise EdgecilError(f"release {found} is current")
    if Folder(store).exists:
        with Folder(store).locked():
            Updater(Folder(store), passes)
        if problems := check(store):
            raise EdgecilError(problems[0])
        if current(store) not in (old, new):
            raise EdgecilError(f"release {current(store)} is current after recovery")
    return "new" if found == new else "old"


def current(store: Path) -> int | None:
    """What a reader gets, which must be whole and current."""
    if not Folder(store).exists or not (store / "current").exists():
        return None
    reading = read_current(store)
    if reading.warning:
        raise EdgecilError(reading.warning)
    return reading.release.number
