"""The engine that runs cells on this machine, some at once, each in a process of its own."""

import subprocess
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from edgecil.comparison.job import Job, ending, start, stop
from edgecil.errors import RunError
from edgecil.work import beat

LOOK_SECONDS = 0.05
"""How often to look whether a process has ended."""

LEAST_SECONDS = 1.0
"""A cell is not started for less than this, but for the first: the same command again would start
none either."""


@dataclass(frozen=True)
class Event:
    """A cell starts, or has ended."""

    name: str
    """The cell's."""
    exit_code: int | None = None
    """None for a start; negative where a signal ended it."""
    reason: str = ""
    """Why it ended, if neither finished nor stopped."""


def run_in_processes(jobs: Sequence[Job], at_once: int) -> Generator[Event, None, None]:
    """Run jobs, `at_once` at a time; closing the iterator stops them all, with a checkpoint.

    When their time is over, those that run stop by themselves and the others are not started: they
    have no event. The end of every job follows its start.

    Raises:
        OSError: a log cannot be written.
    """
    waiting, running = deque(jobs), dict[str, tuple[Job, subprocess.Popen[bytes]]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.popleft()
                if job is not jobs[0] and job.seconds_left < LEAST_SECONDS:
                    continue
                yield Event(job.name)
                try:
                    running[job.name] = job, start(job)
                except RunError as error:
                    yield Event(job.name, error.exit_code, str(error))
            for job, process in list(running.values()):
                code = process.poll()
                if code is not None:
                    del running[job.name]
                    yield Event(job.name, *ending(job, code))
            beat()
            time.sleep(LOOK_SECONDS)
    finally:
        stop([process for _, process in running.values()])
