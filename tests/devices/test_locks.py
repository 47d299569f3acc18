"""One writer at a time, told which; the system frees the lock of whoever is killed."""

import errno
import fcntl
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from edgecil_devices import locks
from edgecil_devices.files import told, write_synced
from edgecil_devices.locks import LockHeldError, lock_for_heirs, locked

HOLDER = """
import sys, time
from pathlib import Path
from edgecil_devices.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def refusal(lock: Path, *, shared: bool = False) -> str:
    with pytest.raises(LockHeldError) as refused, locked(lock, shared=shared):
        pass
    return refused.value.holder


def test_a_killed_holder_is_named_while_it_lives_and_never_in_the_way_after(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout
    with holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        assert refusal(lock) == f"process {holder.pid}"
        assert refusal(lock, shared=True) == f"process {holder.pid}"
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
    with locked(lock) as held:
        assert held


def test_those_who_share_it_keep_writers_out_without_a_name_that_is_not_theirs(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "lock"
    with locked(lock, shared=True) as held:
        assert not held  # nobody has ever written here
    with locked(lock):
        pass
    with locked(lock, shared=True) as first, locked(lock, shared=True) as second:
        assert first
        assert second
        assert refusal(lock) == "another process"
        # What a killed writer left behind is not believed either.
        lock.write_text(f"{2**22 + 1} {platform.node()}\n")
        assert refusal(lock) == "another process"
        lock.write_text("17 elsewhere\n")
        assert refusal(lock) == "process 17 on elsewhere"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is waited for may be kept waiting by other processes."""
    monkeypatch.setattr(locks, "_PATIENCE_S", 15.0)


@pytest.mark.usefixtures("patient")
def test_a_writer_that_has_not_yet_written_its_name_is_named_all_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        naming = threading.Timer(0.1, lock.write_text, ["17 elsewhere"])
        naming.start()
        assert refusal(lock) == "process 17 on elsewhere"
        naming.join()


@pytest.mark.usefixtures("patient")
def test_whoever_only_looks_for_a_moment_refuses_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        leaving = threading.Timer(0.1, file.close)
        leaving.start()
        with locked(lock) as held:
            assert held
        leaving.join()


def test_what_a_process_inherits_locked_stays_locked_until_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"17 elsewhere\n")
    with log.open("ab") as file:
        assert lock_for_heirs(file, 0)
        heir = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=file)
    with log.open("ab") as file:
        with pytest.raises(LockHeldError, match="another process"):  # a log names nobody
            lock_for_heirs(file, 0.1)
        ending = threading.Timer(0.2, heir.kill)
        ending.start()
        assert lock_for_heirs(file, 30)
        ending.join()
    heir.wait()
    assert log.read_bytes() == b"17 elsewhere\n"


def _linger(running: Event) -> None:
    running.set()
    time.sleep(60)


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock, context = tmp_path / "lock", multiprocessing.get_context("fork")
    running = context.Event()
    with locked(lock):
        child = context.Process(target=_linger, args=(running,))
        child.start()
        assert running.wait(30)
    try:
        with locked(lock) as held:
            assert held
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path / "lock") as held:
        assert not held
    with (tmp_path / "log").open("ab") as file:
        assert not lock_for_heirs(file, 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_write_that_fails_names_its_file() -> None:
    with pytest.raises(OSError, match="No space left") as failed:
        write_synced(Path("/dev/full"), b"one byte too many")
    assert told(failed.value) == "/dev/full: the disk is full"


def test_whoever_fails_while_holding_it_is_named_no_more(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with suppress(ZeroDivisionError), locked(lock):
        assert lock.read_text() == f"{os.getpid()} {platform.node()}\n"
        raise ZeroDivisionError
    assert lock.read_text() == ""
    with locked(lock, shared=True):
        assert refusal(lock) == "another process"
