"""Groups runs: the seeds of one setting are a cell, the budgets of one method a series."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from edgecil.budget import BYTES_PER_MIB
from edgecil.errors import RunError
from edgecil.evaluation.measures import Spread, average_incremental_accuracy
from edgecil.report.runs import SavedRun
from edgecil.training.settings import RunSettings
from edgecil.words import duration_in_words

METHOD_ORDER = (
    "finetune",
    "slda",
    "replay",
    "icarl",
    "wa",
    "der",
    "foster",
    "memo",
    "memo-2",
    "thrift",
    "joint",
)
"""From the floor to the ceiling, as tables list them; others follow."""

PER_RUN = {
    *("seed", "tasks", "sources", "mean", "std", "protocol", "classes_file"),
    *("weights", "time_seconds", "latency_ms"),  # what they came to is compared
}
"""Settings that may differ between the runs of one cell, or that all runs of a report share."""

PER_BUDGET = {"backbone", "cut", "codec", "precision", "max_blocks"}
"""Settings that the planner chooses for a budget, as the papers have a network for each."""


@dataclass(frozen=True)
class Cell:
    """The runs that differ in nothing but the seed."""

    label: str
    """Method, and what tells it from other cells of the method; the budget aside."""
    runs: tuple[SavedRun, ...]
    """One a seed."""

    @property
    def settings(self) -> RunSettings:
        """What the runs were asked for; the seed and the class order are the first run's."""
        return self.runs[0].settings

    @property
    def budget_mib(self) -> float:
        """The budget in MiB."""
        return self.settings.budget_bytes / BYTES_PER_MIB

    @property
    def seeds(self) -> str:
        """The seeds, in words."""
        return ", ".join(str(run.settings.seed) for run in self.runs)

    @cached_property
    def matrix(self) -> list[list[float | None]]:
        """Accuracy of task i after task k in row k, the mean over seeds; None if one has none."""
        matrices = [run.results.accuracy_matrix for run in self.runs]
        return [
            [
                None if (spread := Spread.of_all(values)) is None else spread.mean
                for values in zip(*(row or [None] * k for row in rows), strict=True)
            ]
            for k, rows in enumerate(zip(*matrices, strict=True), 1)
        ]


@dataclass(frozen=True)
class Outcome:
    """One row of the accuracy table: a cell with one of its classifiers."""

    label: str
    """Name of the row."""
    cell: Cell
    """Whose it is."""
    sessions: tuple[Spread | None, ...]
    """Session accuracies in percent; None where a run did not measure all classes, as below."""
    average: Spread | None
    """Average incremental accuracy in percent."""
    last: Spread | None
    """Last accuracy in percent."""
    forgetting: tuple[Spread | None, ...]
    """Forgetting after every task in points; empty where it was not measured at all."""

    @property
    def is_ceiling(self) -> bool:
        """Whether it had all pictures of all tasks, and so is nobody's rival."""
        return self.cell.settings.method == "joint"


def cells_of(runs: Iterable[SavedRun]) -> list[Cell]:
    """The runs by cell, in the order of methods, then labels, then budgets.

    Raises:
        RunError: two of them have the same settings and seed, and would count as two seeds.
    """
    grouped: dict[tuple[object, ...], list[SavedRun]] = defaultdict(list)
    for run in runs:
        grouped[tuple(_settings(run).items())].append(run)
    groups = list(grouped.values())
    for group in groups:
        of_seed: dict[int, SavedRun] = {}
        for run in group:
            if (other := of_seed.setdefault(run.settings.seed, run)) is not run:
                raise RunError(
                    f"{other.folder} and {run.folder} have the same settings and seed; "
                    "leave one of them out"
                )
    labels = _labels([_settings(group[0]) for group in groups])
    cells = [
        Cell(label, tuple(sorted(group, key=lambda run: run.settings.seed)))
        for label, group in zip(labels, groups, strict=True)
    ]
    return sorted(cells, key=_place)


def outcomes_of(cell: Cell) -> list[Outcome]:
    """The rows of a cell: one, or two where the nearest mean was measured too."""
    linear = [run.results.accuracies for run in cell.runs]
    means = [run.results.nearest_mean_accuracies for run in cell.runs]
    losses = [run.results.forgetting for run in cell.runs]
    forgotten = tuple(Spread.of_all(values) for values in zip(*losses, strict=True))
    if any(None in row for row in means):
        return [_outcome(cell.label, cell, linear, forgotten)]
    return [
        _outcome(f"{cell.label}, linear", cell, linear, forgotten),
        _outcome(f"{cell.label}, nearest mean", cell, means, ()),
    ]


def mib(size_mib: float) -> str:
    """A size in MiB as tables and titles show it."""
    return f"{size_mib:.2f}" if size_mib < 100 else f"{size_mib:.0f}"


def budget_title(budget_mib: float, among: Collection[float]) -> str:
    """A budget in MiB as headings show it: in bytes too where others would read alike."""
    title = f"{mib(budget_mib)} MiB"
    if any(other != budget_mib and mib(other) == mib(budget_mib) for other in among):
        title += f" ({round(budget_mib * BYTES_PER_MIB):,} bytes)"
    return title


def _outcome(
    label: str,
    cell: Cell,
    accuracies: Sequence[Sequence[float | None]],
    forgotten: tuple[Spread | None, ...],
) -> Outcome:
    """A row from the session accuracies of every run."""
    return Outcome(
        label=label,
        cell=cell,
        sessions=tuple(Spread.of_all(values) for values in zip(*accuracies, strict=True)),
        average=Spread.of_all([average_incremental_accuracy(row) for row in accuracies]),
        last=Spread.of_all([row[-1] for row in accuracies]),
        forgetting=forgotten,
    )


def _settings(run: SavedRun) -> dict[str, object]:
    """What makes a cell."""
    settings = values_of(run.settings)
    if seconds := run.settings.time_seconds:  # each run has as many as its machine trains in that
        settings["images_a_task"] = f"by --time {duration_in_words(seconds)}"
    holdout = ", ".join(f"{source.holdout:g}" for source in run.settings.sources)
    return {k: v for k, v in settings.items() if k not in PER_RUN} | {"holdout": holdout}


def values_of(settings: RunSettings) -> dict[str, Any]:
    """The settings by their names, as they are."""
    return {one.name: getattr(settings, one.name) for one in fields(settings)}


def _labels(cells: Sequence[dict[str, object]]) -> list[str]:
    """The method and every setting in which its cells differ.

    What is chosen for each budget counts as a difference only where a budget has several, and the
    backbone only where nothing else tells them apart.
    """
    labels = []
    for cell in cells:
        peers = [other for other in cells if other["method"] == cell["method"]]
        differing = [
            name
            for name in cell
            if name not in ("method", "budget_bytes", "backbone") and _differ(peers, name)
        ]
        told = {tuple(other[name] for name in (*differing, "budget_bytes")) for other in peers}
        if len(told) < len(peers):
            differing.insert(0, "backbone")
        words = [_in_words(name, cell[name]) for name in differing]
        labels.append(", ".join([str(cell["method"]), *words]))
    return labels


def _differ(cells: Sequence[dict[str, object]], name: str) -> bool:
    """Whether a setting tells cells of one method apart."""
    by_budget = defaultdict(set)
    for cell in cells:
        by_budget[cell["budget_bytes"] if name in PER_BUDGET else None].add(cell[name])
    return any(len(values) > 1 for values in by_budget.values())


def _in_words(name: str, value: object) -> str:
    if name in ("backbone", "codec", "precision", "accounting", "recipe"):
        return str(value)
    if name == "mirrors":
        return "mirrored" if value else "not mirrored"
    return f"{name.replace('_', ' ')} {'default' if value is None else value}"


def _place(cell: Cell) -> tuple[int, str, int, str]:
    settings = cell.settings
    known = settings.method in METHOD_ORDER
    place = METHOD_ORDER.index(settings.method) if known else len(METHOD_ORDER)
    return place, cell.label, settings.budget_bytes, settings.backbone
