"""The table of a comparison: a row for each method and budget, and the areas under the curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from edgecil.budget import BYTES_PER_MIB
from edgecil.comparison.results import NEAREST_MEAN, Result
from edgecil.evaluation.measures import Areas, Spread


@dataclass(frozen=True)
class Row:
    """One method with one backbone under one budget, over its seeds."""

    method: str
    """Name of the method."""
    classifier: str
    """`linear` or `nearest-mean`."""
    backbone: str
    """Name of the backbone."""
    budget_bytes: int
    """Bound on the state."""
    average_accuracy: Spread | None
    """Average incremental accuracy in percent; None where a run did not measure it, as below."""
    last_accuracy: Spread | None
    """Accuracy after the last task in percent."""
    forgetting: Spread | None
    """After the last task, in points."""
    exemplars: Spread
    """Pictures kept after the last task."""
    state_bytes: Spread
    """What is kept after the last task."""
    seconds: Spread
    """Time a run took."""

    @property
    def label(self) -> str:
        """The method as a table names it."""
        return _label(self.method, self.classifier)


@dataclass(frozen=True)
class Curve:
    """What a method's accuracies come to over all its budgets."""

    method: str
    """Name of the method."""
    classifier: str
    """`linear` or `nearest-mean`."""
    budgets_bytes: tuple[int, ...]
    """Ascending; areas compare only over the same ones."""
    areas: Areas
    """Under its curves, and its accuracy per MiB."""

    @property
    def label(self) -> str:
        """The method as a table names it."""
        return _label(self.method, self.classifier)


def rows_of(results: Sequence[Result]) -> list[Row]:
    """One row for each method, classifier, backbone and budget, in the order of the results."""
    groups: dict[tuple[str, str, str, int], list[Result]] = {}
    for result in results:
        key = (result.method, result.classifier, result.backbone, result.budget_bytes)
        groups.setdefault(key, []).append(result)
    return [_row(key, group) for key, group in groups.items()]


def curves_of(rows: Sequence[Row]) -> list[Curve]:
    """One curve for each method and classifier that has two budgets or more."""

    def owner(row: Row) -> tuple[str, str]:
        return row.method, row.classifier

    curves = []
    for (method, classifier), group in groupby(sorted(rows, key=owner), owner):
        points = sorted(group, key=lambda row: row.budget_bytes)
        budgets = tuple(point.budget_bytes for point in points)
        if len(set(budgets)) < max(2, len(points)):
            continue  # one budget, or seeds for which the planner chose different backbones
        areas = Areas.of(
            [budget / BYTES_PER_MIB for budget in budgets],
            [point.average_accuracy for point in points],
            [point.last_accuracy for point in points],
        )
        if areas:
            curves.append(Curve(method, classifier, budgets, areas))
    return curves


def _row(key: tuple[str, str, str, int], group: Sequence[Result]) -> Row:
    return Row(
        *key,
        average_accuracy=Spread.of_all([result.average_accuracy for result in group]),
        last_accuracy=Spread.of_all([result.last_accuracy for result in group]),
        forgetting=Spread.of_all([result.forgetting for result in group]),
        exemplars=Spread.of([result.exemplars for result in group]),
        state_bytes=Spread.of([result.state_bytes for result in group]),
        seconds=Spread.of([result.seconds for result in group]),
    )


def _label(method: str, classifier: str) -> str:
    return f"{method} ({classifier})" if classifier == NEAREST_MEAN else method
