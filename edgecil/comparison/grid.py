"""The cells of a comparison: one run for every seed, budget and method, each with its command."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil.budget import ByteBudget
from edgecil.comparison.job import Job
from edgecil.data import DATASETS
from edgecil.errors import UsageError
from edgecil_devices.options import words_of

if TYPE_CHECKING:
    from edgecil.training.request import TrainRequest

_TOLD = ("method", "budget", "seed")
"""Options that are written even where they have their default."""


@dataclass(frozen=True)
class GridCell:
    """One run of the grid."""

    request: "TrainRequest"
    """What the run is asked for."""
    folder: Path
    """Its run folder, absolute, so that the command works from anywhere."""
    device: str
    """Where it trains: auto, cpu, cuda or mps."""

    @property
    def name(self) -> str:
        """Method, budget in bytes and seed, such as memo-7998016-1993."""
        return self.folder.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `edgecil`: everything that decides the run, and nothing else."""
        options = [*words_of(self.request, _TOLD), "--device", self.device]
        return ("train", *options, "--run", str(self.folder), "--resume")

    def job(self, threads: int, stop_at: float | None) -> Job:
        """What it takes to run it; the log lies beside the folder, which is the run's own."""
        log = self.folder.with_name(f"{self.name}.log")
        return Job(self.name, self.arguments, log, threads, stop_at)


def grid(
    asked: "TrainRequest",
    methods: Sequence[str],
    budgets: Sequence[str | int],
    seeds: Sequence[int],
    folder: Path,
    device: str,
) -> list[GridCell]:
    """Every seed with every budget with every method, seeds outermost.

    A comparison that is stopped half-way has then whole seeds rather than whole methods.

    Raises:
        UsageError: something twice, or a cell that no run could be.
    """
    budgets_bytes = [int(ByteBudget(budget)) for budget in budgets]
    for what, values in (("methods", methods), ("budgets", budgets_bytes), ("seeds", seeds)):
        if len(set(values)) < len(values):
            raise UsageError(f"--{what} has something twice; give each once")
    asked = _from_anywhere(asked)
    return [
        GridCell(
            replace(asked, method=method, budget=budget, seed=seed),
            folder.resolve() / f"{method}-{budget}-{seed}",
            device,
        )
        for seed in seeds
        for budget in budgets_bytes
        for method in methods
    ]


def _from_anywhere(asked: "TrainRequest") -> "TrainRequest":
    """The same request with absolute paths."""
    paths: dict[str, Any] = {
        field.name: value.resolve()
        for field in fields(asked)
        if isinstance(value := getattr(asked, field.name), Path)
    }
    if asked.data and asked.data not in DATASETS and Path(asked.data).is_dir():
        return replace(asked, **paths, data=str(Path(asked.data).resolve()))
    return replace(asked, **paths)
