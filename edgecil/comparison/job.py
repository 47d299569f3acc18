"""One cell as a process: how it is started so that it can never be left behind, and how it ended.

A process holds a lock on its log for as long as it lives. Whoever would start the same cell a
second time, after a comparison or a Ray worker was killed, waits for the first to be gone.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from edgecil.errors import RunError
from edgecil.training.stopping import EXIT_STOPPED
from edgecil_devices.locks import LockHeldError, lock_for_heirs

LEFT_BEHIND_SECONDS = 15.0
"""How long a process that an earlier comparison left behind may take to end."""

STOPPING_SECONDS = 60.0
"""How long a cell may take to stop once it is asked to; it is killed after that."""

_PROGRAM = (sys.executable, "-m", "edgecil")
"""Looked up where the job runs: on a cluster, that machine's own Python."""

_PROMPT = "$ "
"""Every attempt at a cell starts its part of the log with a line of its own."""

_TAIL_BYTES = 16_384
_PR_SET_PDEATHSIG = 1
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True)
class Job:
    """What it takes to run a cell, on any machine that sees the output folder."""

    name: str
    """The cell's."""
    arguments: tuple[str, ...]
    """What follows `edgecil`."""
    log: Path
    """Where all that it says is appended."""
    threads: int
    """Threads that may compute at once."""
    stop_at: float | None
    """Seconds since the epoch by which it has to stop; None for never."""

    @property
    def command(self) -> str:
        """The command as a person can copy it into a shell and run it alone."""
        return f"OMP_NUM_THREADS={self.threads} {shlex.join([*_PROGRAM, *self.arguments])}"

    @property
    def seconds_left(self) -> float:
        """Seconds until it has to stop."""
        return float("inf") if self.stop_at is None else self.stop_at - time.time()


def start(job: Job) -> "subprocess.Popen[bytes]":
    """Start the command of a job; it ends when this process does, however that ends.

    One that has to stop is told when, and stops by itself as `edgecil train --stop-after` does:
    with an epoch more than before. Were it stopped from here, one that takes longer to load its
    pictures would never get on.

    Raises:
        RunError: the cell is still being trained by a process that was left behind.
        OSError: the log cannot be written.
    """
    if job.stop_at is not None:
        seconds_left = f"{max(job.seconds_left, 0.1):.1f}s"
        job = replace(job, arguments=(*job.arguments, "--stop-after", seconds_left))
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        try:
            lock_for_heirs(log, LEFT_BEHIND_SECONDS)
        except LockHeldError:
            raise RunError(
                f"{job.name} is still being trained by a process that was left behind; "
                "wait for it or end it, and give the same command again"
            ) from None
        log.write(f"{_PROMPT}{job.command}\n".encode())
        log.flush()
        with warnings.catch_warnings():
            # Python 3.12 and later warn of forks beside threads; this one only calls prctl.
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
            # A session of its own: Ctrl-C in a terminal reaches the comparison, which tells it on.
            return subprocess.Popen(
                [*_PROGRAM, *job.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": str(job.threads)},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )


def stop(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Ask processes to keep their last epoch and end, and wait until they have."""
    for process in processes:
        process.terminate()
    give_up = time.monotonic() + STOPPING_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ending(job: Job, exit_code: int) -> tuple[int, str]:
    """The exit code and, if the job neither finished nor stopped in time, why."""
    return exit_code, "" if exit_code in (0, EXIT_STOPPED) else _why(job, exit_code)


def _why(job: Job, exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return (
            "killed by the system (SIGKILL), most likely because memory ran out; "
            "lower --jobs and give the same command again, its last epoch is kept"
        )
    for line in reversed(_tail(job.log).splitlines()):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
        if line.startswith(_PROMPT):
            break  # what an earlier attempt said does not count
    if exit_code < 0:
        return f"ended by {signal.Signals(-exit_code).name}; see {job.log}"
    return f"ended with exit code {exit_code}; see {job.log}"


def _die_with_parent() -> None:
    """Linux: killed when the thread that started it ends, so that no cell trains unwatched."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")
