"""A cell's process: what it is told, how it ends, and that no second one joins it."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecil.comparison import job as job_module
from edgecil.comparison.cluster import _run_job
from edgecil.comparison.job import Job, ending, start, stop
from edgecil.comparison.outlook import Outlook
from edgecil.comparison.processes import run_in_processes
from edgecil.errors import RunError


def quick(folder: Path, name: str = "cell", stop_at: float | None = None) -> Job:
    """A command that ends soon, with the error that there is no such file."""
    return Job(name, ("info", str(folder / "nothing")), folder / f"{name}.log", 1, stop_at)


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[None]:
    """Somebody holds the log, as a process does that outlived its comparison."""
    with (tmp_path / "cell.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield


def test_the_log_starts_with_the_command_and_has_what_it_said(tmp_path: Path) -> None:
    job = quick(tmp_path)
    assert start(job).wait(timeout=300) == 1
    command, *said = job.log.read_text().splitlines()
    assert command == f"$ {job.command}"
    assert said[-1].startswith("error: ")
    assert ending(job, 1) == (1, said[-1].removeprefix("error: "))


def test_what_an_earlier_attempt_said_is_not_the_reason(tmp_path: Path) -> None:
    job = quick(tmp_path)
    job.log.write_text("$ first\nerror: the disk is full\n$ second\nTraceback ...\n")
    code, reason = ending(job, 3)
    assert code == 3
    assert "disk" not in reason
    assert "exit code 3" in reason
    assert str(job.log) in reason


def test_a_process_killed_for_memory_is_told_as_such(tmp_path: Path) -> None:
    code, reason = ending(quick(tmp_path), -signal.SIGKILL)
    assert code == -9
    assert "memory" in reason
    assert "--jobs" in reason


def test_one_that_was_stopped_has_not_failed(tmp_path: Path) -> None:
    assert ending(quick(tmp_path), 75) == (75, "")
    assert ending(quick(tmp_path), 0) == (0, "")


@pytest.mark.usefixtures("left_behind")
def test_a_cell_is_not_started_beside_a_process_that_was_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "LEFT_BEHIND_SECONDS", 0.1)
    with pytest.raises(RunError, match="left behind"):
        start(quick(tmp_path))
    assert (tmp_path / "cell.log").read_bytes() == b""


def test_a_running_process_holds_its_log_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(quick(tmp_path))
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(job_module, "LEFT_BEHIND_SECONDS", 0.1)
    with pytest.raises(RunError, match="left behind"):
        start(quick(tmp_path))
    process.kill()
    process.wait()
    assert start(quick(tmp_path)).wait(timeout=300) == 1


def test_a_process_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    monkeypatch.setattr(job_module, "STOPPING_SECONDS", 0.1)
    stop([process])
    assert process.returncode == -signal.SIGKILL


def test_no_more_processes_run_at_once_than_asked_for(tmp_path: Path) -> None:
    jobs = [quick(tmp_path, name) for name in "abc"]
    running, most = 0, 0
    for event in run_in_processes(jobs, at_once=2):
        running += 1 if event.exit_code is None else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


def loading_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that take so long to load and then stop after an epoch."""
    said = (
        f"import sys, time; time.sleep({seconds}); print('an epoch', *sys.argv[-2:]); sys.exit(75)"
    )
    monkeypatch.setattr(job_module, "_PROGRAM", (sys.executable, "-c", said))


def test_a_cell_that_takes_longer_to_load_than_it_may_take_does_an_epoch_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading_for(6.0, monkeypatch)
    jobs = [quick(tmp_path, name, stop_at=time.time()) for name in "ab"]
    events = [(event.name, event.exit_code) for event in run_in_processes(jobs, at_once=2)]
    assert events == [("a", None), ("a", 75)]
    assert jobs[0].log.read_text().splitlines()[1:] == ["an epoch --stop-after 0.1s"]
    assert not jobs[1].log.exists()


def test_a_ray_worker_tells_of_the_end_of_what_it_began_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading_for(0.0, monkeypatch)
    first, second = (quick(tmp_path, name, stop_at=time.time()) for name in "ab")
    assert _run_job(first, True) == (75, "")
    assert first.log.exists()
    assert _run_job(second, False) is None
    assert not second.log.exists()


@pytest.mark.usefixtures("left_behind")
def test_jobs_that_cannot_be_started_leave_the_others_counted_as_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has no time left, and one is still being trained by somebody else."""
    jobs = [quick(tmp_path), quick(tmp_path, "late", stop_at=time.time()), quick(tmp_path, "well")]
    monkeypatch.setattr(job_module, "LEFT_BEHIND_SECONDS", 0.1)
    outlook, told = Outlook(3), []
    for event in run_in_processes(jobs, at_once=2):
        outlook.take(event.exit_code is not None)
        told.append((event.name, event.exit_code, outlook.in_words().split(", ")[1]))
    assert told == [
        ("cell", None, "1 at work"),
        ("cell", 1, "0 at work"),
        ("well", None, "1 at work"),
        ("well", 1, "0 at work"),
    ]
