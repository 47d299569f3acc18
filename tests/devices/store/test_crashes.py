"""A device's store after a crash or a failing disk at any moment: old or new, whole, and working.

Every operation of one change is recorded, every disk that a power cut may leave is made, and there
a reader, the next updater and the same change once more are tried. Nothing is repaired by hand.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edgecil_devices.errors import EdgecilError, ReleaseError, StoreError, StoreWriteError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update
from edgecil_devices.store.updating import Test, Updater
from tests.crash.disks import Disk, crashes, crashes_after_all
from tests.crash.recording import SYNC, Recorder
from tests.devices.store.releases import Releases, fails, labels, passes

pytestmark = pytest.mark.slow

ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES]


@dataclass
class Change:
    """A store before, what is done to it, and the releases that may be current afterwards."""

    before: Path
    run: Callable[[Path, Test], object]
    old: int | None
    new: int
    test: Test = passes

    def do(self, store: Path) -> EdgecilError | None:
        """Make the change; what the person is told if it is refused."""
        try:
            self.run(store, self.test)
        except (ReleaseError, StoreWriteError) as error:
            return error
        return None

    def recover(self, store: Path) -> StoreState:
        """What the next updater does first."""
        with Folder(store).locked():
            return Updater(Folder(store), self.test).state


def current(store: Path) -> int | None:
    """The release that a reader gets; None where there is none yet."""
    state, told = store / "state.json", (store / "current").exists()
    if not told and not (state.exists() and StoreState.read(state).committed):
        with pytest.raises(StoreError, match="is empty|is not a store"):
            read_current(store)
        return None
    reading = read_current(store)
    # A release may be committed that the file in which readers look could not be told of.
    assert reading.warning is None if told else "current is missing" in str(reading.warning)
    assert reading.bundle.manifest.classes == labels(reading.release.number)
    return reading.release.number


CHANGES = ("first install", "install", "update", "rollback", "collection", "bad release")


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: thousands of stores are made, and none is cut for real."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def change(request: pytest.FixtureRequest, releases: Releases, folder: Path) -> Change:
    store = folder / "before" / "store"
    store.parent.mkdir()
    one, two, three = (releases.bundle(number) for number in (1, 2, 3))
    small = releases.update(3, 2)
    if request.param == "first install":
        return Change(store, lambda at, test: install(one, at, test=test), None, 1)
    install(one, store, test=passes)
    if request.param == "install":
        return Change(store, lambda at, test: install(two, at, test=test), 1, 2)
    update(two, store, test=passes)
    if request.param == "rollback":
        return Change(store, rollback, 2, 1)
    if request.param == "update":
        return Change(store, lambda at, test: update(small, at, test=test), 2, 3)
    if request.param == "bad release":
        return Change(store, lambda at, test: update(three, at, test=test), 2, 2, fails)
    # Two releases that nothing refers to, as if earlier collections had been cut short.
    for number in (4, 5):
        made = releases.made(number)
        Folder(store).add_blobs(
            {blob.sha256: made.blobs[blob.name] for blob in made.manifest.blobs}
        )
    collection = Change(store, lambda at, test: collection.recover(at), 2, 2)
    return collection


def require_working(change: Change, store: Path) -> int | None:
    """Read, recover, check, and do the change again; which release the reader got first."""
    found = current(store)
    assert found in (change.old, change.new)
    if Folder(store).exists:
        assert change.recover(store).trial is None
        assert check(store) == []
        recovered = current(store)
        assert recovered in (change.old, change.new)
    if change.new != change.old and current(store) != change.new:
        change.do(store)
        assert current(store) == change.new
    assert check(store) == []
    return found


def tidy(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in store.rglob("*")}


every_change = pytest.mark.parametrize("change", CHANGES, indirect=True)


@every_change
def test_c3_c4_a_power_cut_at_any_moment_leaves_the_old_or_the_new_release(
    change: Change, folder: Path
) -> None:
    parent = change.before.parent
    before = Disk.of(parent)
    with Recorder(parent) as recorder:
        change.do(change.before)
    after = tidy(change.before)
    found = set()
    for number, (_, disk) in enumerate(crashes(before, recorder.operations)):
        left = folder / f"{number}"
        disk.write_to(left)
        found.add(require_working(change, left / "store"))
        assert tidy(left / "store") == after
        shutil.rmtree(left)
    assert found == {change.old, change.new}


@every_change
def test_a_power_cut_soon_after_the_next_updater_cleared_up_does_no_harm(
    change: Change, folder: Path
) -> None:
    parent = change.before.parent
    before = Disk.of(parent)
    with Recorder(parent) as recorder:
        change.do(change.before)
    seen: set[bytes] = set()
    for killed_after in range(len(recorder.operations) + 1):
        done = recorder.operations[:killed_after]
        killed = folder / f"killed-{killed_after}"
        before.after(done).write_to(killed)
        if not Folder(killed / "store").exists:
            continue
        with Recorder(killed) as clearing:
            change.recover(killed / "store")
        for number, (_, disk) in enumerate(crashes(before, [*done, *clearing.operations], seen)):
            left = folder / f"{killed_after}-{number}"
            disk.write_to(left)
            require_working(change, left / "store")
            shutil.rmtree(left)


@pytest.mark.parametrize("change", ["first install", "install", "rollback"], indirect=True)
def test_what_is_installed_after_a_killed_change_is_there_after_a_power_cut(
    change: Change, releases: Releases, folder: Path
) -> None:
    """Whatever the killed process had not confirmed: what was reported as done stays so."""
    parent = change.before.parent
    before = Disk.of(parent)
    with Recorder(parent) as recorder:
        change.do(change.before)
    for killed_after in range(len(recorder.operations) + 1):
        done = recorder.operations[:killed_after]
        killed = folder / f"killed-{killed_after}"
        before.after(done).write_to(killed)
        with Recorder(killed) as next_one:
            install(releases.bundle(6), killed / "store", test=passes)
        every = crashes_after_all(before, [*done, *next_one.operations])
        for number, disk in enumerate(every):
            left = folder / f"{killed_after}-{number}"
            disk.write_to(left)
            assert current(left / "store") == 6
            shutil.rmtree(left)


@every_change
@pytest.mark.parametrize("lasting", [False, True])
def test_c5_c6_c7_any_failing_operation_leaves_the_old_or_the_new_release(
    change: Change, folder: Path, lasting: bool
) -> None:
    for error in ERRORS:
        for number in itertools.count(1):
            left = folder / f"{error}-{number}"
            shutil.copytree(change.before.parent, left)
            with Recorder(left, number, error, lasting=lasting) as recorder:
                told = change.do(left / "store")
            if told is None and recorder.failed:
                # Only removing what nothing refers to may fail without a word.
                assert StoreState.read(left / "store" / "state.json").trial is None
            require_working(change, left / "store")
            shutil.rmtree(left)
            if not recorder.failed:
                break


@pytest.mark.parametrize("change", ["update"], indirect=True)
def test_without_fsync_the_same_power_cuts_do_harm(change: Change, folder: Path) -> None:
    """The test can fail: here nothing is confirmed, and a disk is found that lost its store."""
    before = Disk.of(change.before.parent)
    with Recorder(change.before.parent) as recorder:
        change.do(change.before)
    unsynced = [done for done in recorder.operations if done.kind != SYNC]

    def harm() -> int:
        for number, (_, disk) in enumerate(crashes(before, unsynced)):
            disk.write_to(folder / str(number))
            require_working(change, folder / str(number) / "store")
        return number

    with pytest.raises((AssertionError, EdgecilError)):
        harm()
