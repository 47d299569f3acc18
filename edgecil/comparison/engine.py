"""Where the cells of a comparison run, how many at once, and with how much of the machine each."""

import math
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from edgecil.comparison.job import Job
from edgecil.comparison.processes import Event, run_in_processes
from edgecil.errors import UsageError
from edgecil_devices.limits import usable_cores
from edgecil_devices.options import one_of, option

ENGINES = ("processes", "ray")
"""What `--engine` takes."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How cells are run."""

    at_once: int = option(
        1, "Runs at a time; on a Ray cluster their resources decide.", flag="--jobs"
    )
    cpus: int | None = option(
        None, "Processors of a run.", flag="--cpus-per-run", shown_default="cores / jobs"
    )
    name: str = option(
        "processes", f"{one_of(ENGINES)}, which the extra of that name brings.", flag="--engine"
    )
    ray_address: str | None = option(
        None, "A Ray cluster, all of whose nodes see --out.", shown_default="a local Ray"
    )
    gpus: float | None = option(
        None,
        "GPUs of a run on Ray, 0.5 for two on one.",
        flag="--gpus-per-run",
        shown_default="1 if any",
    )

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"unknown engine {self.name!r}; choose one of: {', '.join(ENGINES)}")
        if self.at_once < 1:
            raise UsageError(f"--jobs is {self.at_once}; give at least 1")
        if self.cpus is not None and self.cpus < 1:
            raise UsageError(f"--cpus-per-run is {self.cpus}; give at least 1")
        if self.gpus is not None and not 0 <= self.gpus < math.inf:
            raise UsageError(f"--gpus-per-run is {self.gpus}; give 0 or more")
        if self.name != "ray" and (self.ray_address or self.gpus is not None):
            raise UsageError("--ray-address and --gpus-per-run are for --engine ray; add it")

    @property
    def cpus_per_cell(self) -> int:
        """Processors of a cell."""
        return self.cpus or max(1, usable_cores() // self.at_once)

    @property
    def threads(self) -> int:
        """Threads of a cell: its processors, unless the environment says something else."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdecimal() and int(asked) else self.cpus_per_cell

    @property
    def warning(self) -> str:
        """What a person should know before it starts; mostly nothing."""
        if self.ray_address or self.at_once <= usable_cores():
            return ""
        return (
            f"--jobs {self.at_once} on {usable_cores()} cores: runs share cores and take longer, "
            "and each holds PyTorch and the data in memory"
        )

    def run(self, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Run jobs and say how each ends; closing the iterator stops them.

        Raises:
            MissingExtraError, EdgecilError: there is no Ray.
            OSError: a log cannot be written.
        """
        if self.name == "processes":
            return run_in_processes(jobs, self.at_once)
        from edgecil.comparison.cluster import Resources, run_on_ray

        resources = Resources(self.cpus_per_cell, self.gpus)
        return run_on_ray(jobs, resources, self.ray_address, self.at_once)
