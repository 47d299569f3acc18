"""What root makes in a folder of another user's: that user can go on with it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecil_devices import Classifier
from edgecil_devices.errors import FetchError
from edgecil_devices.files import make_folder, replace_atomically, write_synced
from edgecil_devices.locks import locked
from edgecil_devices.store import fetching
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update, update_from
from tests.devices.store.releases import Releases, labels, passes
from tests.devices.store.shelf import cut_after, say, serving
from tests.devices.teaching.colours import BLUE, RED, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")

SERVICE = 65534
"""The user and the group whose store it is."""


@pytest.fixture
def releases(tiny: "TinyNetwork", home: Path) -> Releases:
    return Releases(tiny, home / "releases")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the service may look into, too."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def store(home: Path) -> Path:
    """Where the service's store is to be: its folder, empty, as `StateDirectory=` makes it."""
    store = home / "store"
    store.mkdir()
    os.chown(store, SERVICE, SERVICE)
    return store


@contextmanager
def as_the_service() -> Iterator[None]:
    os.setegid(SERVICE)
    os.seteuid(SERVICE)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def owners(folder: Path) -> set[tuple[int, int]]:
    """Of a folder and of all that is in it."""
    found = [path.lstat() for path in (folder, *folder.rglob("*"))]
    return {(one.st_uid, one.st_gid) for one in found}


def test_a_store_that_root_fills_is_its_owners(releases: Releases, store: Path) -> None:
    third = releases.update(3, 1)
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    assert owners(store) == {(SERVICE, SERVICE)}
    rollback(store, passes)
    assert owners(store) == {(SERVICE, SERVICE)}
    with as_the_service():
        update(third, store, test=passes)
    assert read_current(store).bundle.manifest.classes == labels(3)


def test_what_root_began_to_fetch_the_service_goes_on_with(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetching, "sleep", lambda _: None)
    path, first = releases.update(2, 1), releases.bundle(1)
    with as_the_service():
        install(first, store, test=passes)
    with serving() as shelf:
        shelf.files = {"latest": b"2", path.name: path.read_bytes()}
        shelf.faults[path.name] = [cut_after(100)]
        shelf.always[path.name] = say(503)
        with pytest.raises(FetchError):
            update_from(shelf.address, store, passes)
        assert (store / "incoming" / path.name).stat().st_size == 100
        assert owners(store) == {(SERVICE, SERVICE)}
        shelf.always.clear()
        with as_the_service():
            update_from(shelf.address, store, passes)
    assert read_current(store).bundle.manifest.classes == labels(2)


def test_what_root_taught_the_service_can_add_to(
    tiny: "TinyNetwork", home: Path, store: Path
) -> None:
    bundle = save_teachable(tiny, home / "tiny.edgecil")
    with as_the_service():
        install(bundle, store, test=passes)
    Classifier.load(store).teach("mug", pictures(RED, 10))
    Classifier.load(store).predict(pictures(RED, 1)[0])
    assert {"lock", "features", "pictures"} <= set(os.listdir(store / "taught"))
    assert owners(store) == {(SERVICE, SERVICE)}
    with as_the_service():
        Classifier.load(store).teach("cup", pictures(BLUE, 10))
    assert [one.label for one in Classifier.load(store).taught] == ["mug", "cup"]


def test_folders_within_new_folders_are_of_the_same_owner(store: Path) -> None:
    make_folder(store / "a" / "b" / "c")
    assert owners(store) == {(SERVICE, SERVICE)}


def test_the_mask_of_root_does_not_lock_the_owner_out(releases: Releases, store: Path) -> None:
    before = os.umask(0o077)
    try:
        install(releases.bundle(1), store, test=passes)
    finally:
        os.umask(before)
    with as_the_service():
        assert read_current(store).bundle.manifest.classes == labels(1)


def test_what_is_there_already_keeps_its_owner(home: Path, store: Path) -> None:
    """A file that root keeps there on purpose, and one that a link of the service's leads to."""
    (store / "roots").mkdir()
    (store / "lock").write_bytes(b"")
    (home / "shadow").write_bytes(b"secret")
    (store / "link").symlink_to(home / "shadow")
    (store / "nowhere").symlink_to(home / "new")
    make_folder(store / "roots")
    with locked(store / "lock"):
        write_synced(store / "link", b"changed")
        write_synced(store / "nowhere", b"made")
    there = (store / "roots", store / "lock", home / "shadow", home / "new")
    assert [path.stat().st_uid for path in there] == [0, 0, 0, 0]


def test_roots_own_folders_are_left_alone(home: Path) -> None:
    os.chown(home, 0, SERVICE)
    replace_atomically(home / "file", b"content")
    make_folder(home / "folder")
    assert {path.stat().st_gid for path in home.iterdir()} == {0}


def test_a_file_system_that_keeps_no_owners_is_no_obstacle(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    install(releases.bundle(1), store, test=passes)
    assert read_current(store).bundle.manifest.classes == labels(1)
    assert (0, 0) in owners(store)


def test_nobody_but_root_gives_anything_away(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(store, 0o777)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("only root can"))
    os.seteuid(1)
    try:
        replace_atomically(store / "file", b"content")
        make_folder(store / "folder")
    finally:
        os.seteuid(0)
    assert (store / "file").stat().st_uid == 1
