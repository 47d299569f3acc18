"""Training's state and an exported bundle are the old or the new one after a crash at any moment.

Every operation of one writing is recorded, and every disk that a power cut may leave is made and
looked at: `disks` says which those are.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecil.memory.state import State, recover
from edgecil_devices.files import remove_leftovers, replace_atomically
from tests.crash.disks import Disk, crashes
from tests.crash.recording import Recorder, left_by_a_dead_process
from tests.edgecil.memory.test_state import make_settings, make_state

pytestmark = pytest.mark.slow

ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES]
OLD, NEW = make_state(make_settings((1,))), make_state(make_settings((1, 1)))


def recovered(folder: Path) -> dict[str, bytes]:
    """What the next run finds."""
    recover(folder / "state")
    return State.read(folder / "state").files()


def record(folder: Path, change: Callable[[], object]) -> Recorder:
    with Recorder(folder) as recorder:
        change()
    return recorder


def test_a_state_is_the_old_or_the_new_one_after_any_power_cut(tmp_path: Path) -> None:
    run = tmp_path / "run"
    OLD.write(run / "state", None)
    before = Disk.of(run)
    recorder = record(run, lambda: NEW.write(run / "state", None))
    outcomes = set()
    for number, (_, disk) in enumerate(crashes(before, recorder.operations)):
        left = tmp_path / str(number)
        disk.write_to(left)
        files = recovered(left)
        outcomes.add(files == NEW.files())
        assert files in (OLD.files(), NEW.files())
        NEW.write(left / "state", None)  # and the next task goes on, without any repair
        assert recovered(left) == NEW.files()
        shutil.rmtree(left)
    assert outcomes == {False, True}
    assert number > 100


def test_a_power_cut_soon_after_a_killed_run_was_resumed_does_no_harm(tmp_path: Path) -> None:
    """Nothing of the killed process may have reached the disk when its successor clears up."""
    run = tmp_path / "run"
    OLD.write(run / "state", None)
    before = Disk.of(run)
    recorder = record(run, lambda: NEW.write(run / "state", None))
    seen: set[bytes] = set()
    for killed_after in range(len(recorder.operations) + 1):
        done = recorder.operations[:killed_after]
        left = tmp_path / f"killed-{killed_after}"
        before.after(done).write_to(left)
        clearing = record(left, lambda left=left: recover(left / "state"))  # type: ignore[misc]
        for number, (_, disk) in enumerate(crashes(before, [*done, *clearing.operations], seen)):
            folder = tmp_path / f"{killed_after}-{number}"
            disk.write_to(folder)
            assert recovered(folder) in (OLD.files(), NEW.files())
            shutil.rmtree(folder)


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("error", ERRORS)
def test_a_state_survives_any_failing_operation(tmp_path: Path, error: int, lasting: bool) -> None:
    for number in itertools.count(1):
        run = tmp_path / str(number)
        OLD.write(run / "state", None)
        with Recorder(run, number, error, lasting=lasting) as recorder:
            told: OSError | None = None
            try:
                NEW.write(run / "state", None)
            except OSError as raised:
                told = raised
        files = recovered(run)
        assert files in (OLD.files(), NEW.files())
        assert files == NEW.files() or (told is not None and told.errno == error)
        if not recorder.failed:
            break
    assert number > 15


def test_a_file_that_is_replaced_is_the_old_or_the_new_one_after_any_power_cut(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "file").write_bytes(b"old" * 5000)
    before = Disk.of(folder)
    recorder = record(folder, lambda: replace_atomically(folder / "file", b"new" * 6000))
    contents = set()
    for number, (_, disk) in enumerate(crashes(before, recorder.operations)):
        left = tmp_path / str(number)
        disk.write_to(left)
        contents.add((left / "file").read_bytes())
    assert contents == {b"old" * 5000, b"new" * 6000}


def test_what_killed_processes_left_of_a_file_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    other = left_by_a_dead_process(tmp_path / "other.zip").name
    mine = [f".out.zip.{os.getppid()}", other, ".out.zip.20261128", "out.zip"]
    for name in mine:
        (tmp_path / name).write_bytes(b"half")
    left_by_a_dead_process(tmp_path / "out.zip")
    remove_leftovers(tmp_path / "out.zip")
    assert {path.name for path in tmp_path.iterdir()} == set(mine)
    remove_leftovers(tmp_path / "nowhere" / "out.zip")


def test_without_fsync_the_same_power_cuts_do_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model can fail: what is not synced may be lost."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    before = Disk.of(folder)
    with Recorder(folder) as recorder:
        monkeypatch.setattr("os.fsync", lambda descriptor: None)
        replace_atomically(folder / "file", b"new")
    contents = set()
    for number, (_, disk) in enumerate(crashes(before, recorder.operations)):
        left = tmp_path / str(number)
        disk.write_to(left)
        contents.add((left / "file").read_bytes())
    assert b"" in contents
