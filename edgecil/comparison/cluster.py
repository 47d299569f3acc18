"""The engine that runs cells as Ray tasks, on a Ray that it starts here or on a cluster.

Ray schedules them by the processors and GPUs they declare, and starts a task again when its worker
or its node is lost; the cell then resumes from its last finished epoch. The output folder has to be
on a file system that all nodes share.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgecil.comparison.job import Job, ending, start, stop
from edgecil.comparison.processes import LEAST_SECONDS, Event
from edgecil.errors import EdgecilError, MissingExtraError, RunError
from edgecil.work import beat

RETRIES = 10
"""Workers that a cell may lose in one comparison."""

LOOK_SECONDS = 0.2
"""How often to look whether a task or a process has ended."""

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""

_OBJECT_STORE_BYTES = 80 * 2**20
"""Nearly the least that Ray takes; tasks hand over nothing but a few words."""


@dataclass(frozen=True)
class Resources:
    """What Ray is told that a cell needs."""

    cpus: int
    """Processors."""
    gpus: float | None
    """GPUs, 0.5 for two cells on one; None for one where there are any."""


def run_on_ray(
    jobs: Sequence[Job], resources: Resources, address: str | None, at_once: int
) -> Generator[Event, None, None]:
    """Run jobs as Ray tasks; closing the iterator ends them, and their last epochs are kept.

    A job that is not started, because its time is over, has no event.

    Args:
        jobs: the cells' jobs; their folders are on a file system that all nodes share.
        resources: what each needs.
        address: of a Ray cluster; None starts a Ray on this machine.
        at_once: cells at a time on a Ray that is started here.

    Raises:
        MissingExtraError: ray is not installed.
        EdgecilError: the cluster cannot be reached.
    """
    ray = _connected(resources, address, at_once)
    try:
        gpus = resources.gpus
        if gpus is None:
            gpus = min(1, ray.cluster_resources().get("GPU", 0))
        _warn_of_waiting(ray, resources.cpus, gpus)
        declared = {"num_cpus": resources.cpus, "num_gpus": gpus, "max_retries": RETRIES}
        task = ray.remote(**declared)(_run_job)
        names = {task.remote(job, job is jobs[0]): job.name for job in jobs}
        while names:
            for done in ray.wait(list(names), timeout=LOOK_SECONDS)[0]:
                if event := _event(ray, names.pop(done), done):
                    yield event
            beat()
    except SystemError as error:
        # Ray waits in C++, which wraps what a signal handler raises.
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise
    finally:
        ray.shutdown()


def _run_job(job: Job, in_any_case: bool) -> tuple[int, str] | None:
    """In a Ray worker: run a cell to its end -> its exit code, and why it ended.

    None where it has not begun: its time was over, and it need not be run `in_any_case`.
    """
    if not in_any_case and job.seconds_left < LEAST_SECONDS:
        return None
    try:
        process = start(job)
    except RunError as error:
        return error.exit_code, str(error)
    try:
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
    finally:
        stop([process])
    return ending(job, process.returncode)


def _event(ray: ModuleType, name: str, done: object) -> Event | None:
    """How a task ended; None where its cell has not begun."""
    try:
        found = ray.get(done)
        return found and Event(name, *found)
    except ray.exceptions.RayTaskError as error:
        return Event(name, 1, f"the Ray worker failed: {error.cause}")
    except ray.exceptions.RayError:
        return Event(
            name, 1, f"its Ray worker was lost {RETRIES + 1} times; its last epoch is kept"
        )


def _connected(resources: Resources, address: str | None, at_once: int) -> ModuleType:
    """Ray, connected to the cluster at `address` or to one that is started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("--engine ray", "ray") from None
    if address:
        _require_answer(address)
    handler = signal.getsignal(signal.SIGTERM)
    here: dict[str, Any] = {
        "num_cpus": resources.cpus * at_once,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    where = {"address": address} if address else here
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        told = str(error).strip().partition("\n")[0]
        raise EdgecilError(f"no Ray at {address or 'this machine'}: {told}") from error
    signal.signal(signal.SIGTERM, handler)  # Ray's own would leave without a word
    module: ModuleType = ray
    return module


def _require_answer(address: str) -> None:
    """Find out in seconds what Ray would try for minutes: that nobody listens at HOST:PORT."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return  # "auto", which Ray looks up itself
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise EdgecilError(
            f"no Ray answers at {address} ({error}); give the HOST:PORT that ray start printed"
        ) from error


def _warn_of_waiting(ray: ModuleType, cpus: int, gpus: float) -> None:
    """Say so if no node can take a cell: Ray would wait for one, which a cluster may start."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        print(
            f"no node has {cpus} processors and {gpus:g} GPUs free for a run: waiting for one; "
            "lower --cpus-per-run or --gpus-per-run if none will come",
            file=sys.stderr,
        )
