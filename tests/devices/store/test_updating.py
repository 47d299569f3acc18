"""Releases in and out of a store: what is taken, what is refused, what is kept."""

import errno
import os
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgecil_devices.errors import (
    BundleCorruptError,
    ReleaseError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreWriteError,
)
from edgecil_devices.store import folder as folder_module
from edgecil_devices.store.folder import Folder, remove_files
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import (
    FORMAT,
    Release,
    StoreState,
    Trial,
    read_checked,
    write_checked,
)
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update
from edgecil_devices.store.updating import MOST_ATTEMPTS, Updater
from tests.devices.store.releases import Releases, current, fails, labels, passes


def state_of(store: Path) -> StoreState:
    return StoreState.read(store / "state.json")


def blobs_of(store: Path) -> set[str]:
    return {path.name for path in (store / "blobs").iterdir()}


def test_a_bundle_makes_a_store_and_an_update_changes_it(releases: Releases, store: Path) -> None:
    assert install(releases.bundle(1), store, test=passes).release.number == 1
    assert current(store) == labels(1)
    before = blobs_of(store)
    outcome = update(releases.update(2, 1), store, test=passes)
    assert current(store) == labels(2)
    new = blobs_of(store) - before
    assert outcome.written_bytes == sum((store / "blobs" / name).stat().st_size for name in new)
    assert len(new) == 3  # manifest, block, head
    assert blobs_of(store) > before  # the previous release stays whole
    state = state_of(store)
    assert state.trial is None
    assert state.committed is not None
    assert state.previous is not None
    assert (state.floor, state.committed.number, state.previous.number) == (2, 2, 1)
    assert check(store) == []


def test_the_same_release_again_changes_nothing(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    outcome = install(releases.bundle(1), store, test=fails)
    assert (outcome.changed, outcome.written_bytes) == (False, 0)


def test_only_what_two_releases_need_is_kept(releases: Releases, store: Path) -> None:
    for number in range(1, 6):
        install(releases.bundle(number), store, test=passes)
    wanted = set()
    for number in (4, 5):
        made = releases.made(number)
        wanted |= {blob.sha256 for blob in made.manifest.blobs}
    assert len(blobs_of(store) - wanted) == 2  # the two manifests
    assert wanted <= blobs_of(store)
    assert {path.name for path in store.iterdir()} == {"lock", "state.json", "current", "blobs"}


@pytest.mark.parametrize("name", ["state.json", "current", "arrangements.json"])
def test_what_a_killed_process_left_of_a_small_file_is_cleared_away(
    releases: Releases, store: Path, name: str
) -> None:
    install(releases.bundle(1), store, test=passes)
    left = store / f".{name}.4711"
    left.write_bytes(b"half")
    update(releases.update(2, 1), store, test=passes)
    assert not left.exists()


def test_a_file_that_its_reader_takes_away_first_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / ".features.2").write_bytes(b"half")
    assert remove_files(tmp_path, [".features.1", ".features.2"]) == 4
    assert list(tmp_path.iterdir()) == []


def test_rolling_back_twice_returns_to_where_it_was(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    assert rollback(store, passes).release.number == 1
    assert current(store) == labels(1)
    assert state_of(store).floor == 2
    assert rollback(store, passes).release.number == 2
    assert current(store) == labels(2)


def test_there_is_nothing_to_roll_back_to_after_the_first(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(StoreError, match="holds no previous release"):
        rollback(store, passes)


def test_a_release_that_was_rolled_back_is_followed_by_a_newer_one(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    rollback(store, passes)
    with pytest.raises(ReleaseError, match="release 2 is the previous one here; to return to it"):
        update(releases.bundle(2), store, test=passes)
    update(releases.update(3, 1), store, test=passes)
    assert current(store) == labels(3)


def test_a_release_that_fails_its_self_test_leaves_everything(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    before = blobs_of(store)
    with pytest.raises(ReleaseError, match="release 2 failed its self-test: sample 0 is a cat"):
        update(releases.update(2, 1), store, test=fails)
    assert (current(store), blobs_of(store)) == (labels(1), before)
    assert state_of(store).refused is not None
    update(releases.update(2, 1), store, test=passes)  # a person may insist
    assert current(store) == labels(2)
    assert state_of(store).refused is None


def test_the_first_release_that_fails_leaves_an_empty_store(
    releases: Releases, store: Path
) -> None:
    with pytest.raises(ReleaseError, match="failed its self-test"):
        install(releases.bundle(1), store, test=fails)
    assert blobs_of(store) == set()
    with pytest.raises(StoreError, match="is empty; run: edgecil install"):
        read_current(store)
    install(releases.bundle(1), store, test=passes)


def test_bundles_without_a_number_come_in_the_order_of_installation(
    releases: Releases, store: Path, tmp_path: Path
) -> None:
    install(releases.bundle(7), store, test=passes)
    assert install(releases.bundle(None), store, test=passes).release.number == 8
    assert not install(releases.bundle(None), store, test=passes).changed


def test_a_folder_with_something_else_is_no_place_for_a_store(
    releases: Releases, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".profile").write_text("")
    with pytest.raises(StoreError, match=r"is not empty \(.profile\); give --store a new folder"):
        install(releases.bundle(1), tmp_path / "home", test=passes)


def test_a_bundle_is_told_from_a_store_and_is_no_place_for_one(
    releases: Releases, store: Path
) -> None:
    path = releases.bundle(1)
    with pytest.raises(StoreError) as caught:
        read_current(path)
    told, _, remedy = str(caught.value).partition("run: ")
    assert told == f"{path} is a file, not a store; "
    assert shlex.split(remedy) == ["edgecil", "install", str(path), "--store", "DIR"]
    with pytest.raises(StoreError, match="release-1.edgecil is a file; give --store a new folder"):
        install(path, path, test=passes)
    install(path, store, test=passes)  # as both say
    assert current(store) == labels(1)


def test_an_update_needs_a_store(releases: Releases, store: Path) -> None:
    with pytest.raises(StoreError, match="is not a store; run: edgecil install"):
        update(releases.bundle(1), store, test=passes)


def test_a_damaged_file_changes_nothing(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    path = releases.update(2, 1)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleCorruptError):
        update(path, store, test=passes)
    assert current(store) == labels(1)


def test_an_update_for_another_base_is_refused(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    path = releases.update(3, 2)
    store_two = store.with_name("other")
    install(releases.bundle(2), store_two, test=passes)
    update(path, store_two, test=passes)
    # The block that both lack is in release 3's update, but nothing of another trunk would be.
    (store / "blobs" / releases.made(1).manifest.trunk.sha256).unlink()
    with pytest.raises(ReleaseError, match="builds on another release than 1, which is here"):
        update(path, store, test=passes)


def test_a_crash_of_every_self_test_ends_with_the_old_release(
    releases: Releases, store: Path
) -> None:
    """As where the load of the test browns the device out."""
    install(releases.bundle(1), store, test=passes)

    class PowerCutError(BaseException):
        pass

    def crash(store: Path, release: Release) -> str | None:
        raise PowerCutError

    update(releases.update(2, 1), store, test=passes)
    rollback(store, passes)
    state = state_of(store)
    assert state.previous is not None
    trial = Trial(state.previous, MOST_ATTEMPTS)
    replace(state, previous=None, trial=trial).write(store / "state.json")
    updater = Updater(Folder(store), crash)
    assert updater.recovered == "gave up release 2, which had been cut short 3 times"
    assert updater.state.refused == trial.release
    assert current(store) == labels(1)


def test_two_at_once_are_not_let_in(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with Folder(store).locked():
        with pytest.raises(
            StoreBusyError, match=f"is being changed by process {os.getpid()}"
        ) as caught:
            update(releases.update(2, 1), store, test=passes)
        assert caught.value.exit_code == 75
    update(releases.update(2, 1), store, test=passes)


def test_too_little_room_is_told_with_numbers_and_nothing_changes(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(releases.bundle(1), store, test=passes)
    before = blobs_of(store)
    monkeypatch.setattr(folder_module, "SPARE_BYTES", 2**60)
    with pytest.raises(StoreWriteError, match=r"needs \d+ bytes, and \d+ are free; make room"):
        update(releases.update(2, 1), store, test=passes)
    assert (current(store), blobs_of(store)) == (labels(1), before)


def test_a_run_is_told_from_a_store_and_nothing_is_left_in_it(
    releases: Releases, tmp_path: Path
) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    with pytest.raises(StoreError, match="is a run, not a store; run: edgecil export"):
        read_current(tmp_path / "run")
    with pytest.raises(StoreError, match=r"is not empty \(state\); give --store a new folder"):
        install(releases.bundle(1), tmp_path / "run", test=passes)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state"]


def test_a_store_of_a_newer_edgecil_is_left_alone(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    record = read_checked(store / "state.json")
    write_checked(store / "state.json", record | {"format": FORMAT + 1})
    with pytest.raises(StoreDamagedError, match="made by a newer edgecil; install a newer edgecil"):
        update(releases.bundle(2), store, test=passes)


def test_whether_a_store_can_be_taught_stays_as_it_was_made(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes, no_teach=True)
    install(releases.bundle(2), store, test=passes, no_teach=True)
    install(releases.bundle(3), store, test=passes)
    with pytest.raises(ReleaseError):
        update(releases.bundle(4), store, test=fails)
    rollback(store, passes)
    assert not state_of(store).teaching


def test_a_store_that_can_be_taught_stays_so(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(StoreError, match="was made without --no-teach; give that to a new store"):
        install(releases.bundle(2), store, test=passes, no_teach=True)
    assert current(store) == labels(1)
    assert state_of(store).teaching


def test_an_edgecil_that_knows_nothing_of_no_teach_takes_every_other_store(
    releases: Releases, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(releases.bundle(1), store, test=passes)
    install(releases.bundle(1), tmp_path / "no-teach", test=passes, no_teach=True)
    assert "teaching" not in read_checked(store / "state.json")
    monkeypatch.setattr("edgecil_devices.store.records.FORMAT", 1)
    assert state_of(store).teaching
    with pytest.raises(StoreDamagedError, match="made by a newer edgecil"):
        state_of(tmp_path / "no-teach")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_store_of_another_user_can_be_read_and_not_written(releases: Releases) -> None:
    path = releases.bundle(2)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        store, update_file = Path(folder, "store"), Path(folder, "update")
        install(releases.bundle(1), store, test=passes)
        update_file.write_bytes(path.read_bytes())
        os.seteuid(65534)
        try:
            with pytest.raises(StoreWriteError, match="Permission denied.*; run as the user who"):
                update(update_file, store, test=passes)
            assert current(store) == labels(1)
            assert check(store) == []
        finally:
            os.seteuid(0)


def test_errors_of_the_disk_say_what_to_do(store: Path) -> None:
    for number, remedy in ((errno.ENOSPC, "make room"), (errno.EROFS, "mount it writable")):
        with pytest.raises(StoreWriteError, match=remedy), folder_module.write_errors(store):
            raise OSError(number, os.strerror(number))
