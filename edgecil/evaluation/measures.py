"""What a class-incremental run comes to, in numbers; accuracies are in percent, budgets in MiB.

K tasks; a_k is the session accuracy after task k, over the test images of all classes so far;
a_(k,i) the accuracy of the images of task i after task k.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def session_accuracies(by_stage: Mapping[int, float | None]) -> list[float | None]:
    """a_1 ... a_K of a run; None where one was not measured, or where its result is lost.

    Args:
        by_stage: what is known, by the number of the task, from 1.
    """
    return [by_stage.get(stage) for stage in range(1, max(by_stage, default=0) + 1)]


def average_incremental_accuracy(session_accuracies: Sequence[float | None]) -> float | None:
    """The mean of a_1 ... a_K (iCaRL, Rebuffi et al., CVPR 2017); None if one was not measured."""
    known = [accuracy for accuracy in session_accuracies if accuracy is not None]
    return statistics.fmean(known) if len(known) == len(session_accuracies) else None


def forgetting(accuracy_by_task: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Forgetting after every task, in points: what each earlier task has lost since its best.

    After task k it is the mean over i < k of (the highest of a_(i,i) ... a_(k-1,i)) - a_(k,i), as
    Chaudhry et al. (ECCV 2018) define it; 0 after the first task. It is negative where earlier
    tasks got better. PyCIL (`trainer.py`) takes the highest of a_(i,i) ... a_(k,i), the last stage
    included, and so never comes below 0. What was not measured (None) counts for nothing, and
    forgetting is None where no earlier task was. So it is from where a row is lost on, since the
    best may have been in that.

    Args:
        accuracy_by_task: row k holds a_(k,1) ... a_(k,k), whatever the sizes of the tasks; one that
            is lost is empty.
    """
    found: list[float | None] = []
    for k, row in enumerate(accuracy_by_task):
        if not all(accuracy_by_task[: k + 1]):
            found.append(None)
            continue
        losses = []
        for i, now in enumerate(row[:k]):
            before = [a for earlier in accuracy_by_task[i:k] if (a := earlier[i]) is not None]
            if now is not None and before:
                losses.append(max(before) - now)
        found.append(statistics.fmean(losses) if losses else None if k else 0.0)
    return found


def area_under_curve(budgets_mib: Sequence[float], accuracies: Sequence[float]) -> float:
    """Area under the performance-memory curve by trapezoids, accuracy counted as a fraction.

    AUC-A takes average incremental accuracies, AUC-L last ones (MEMO, Zhou et al., ICLR 2023,
    section 3). Areas compare only over the same budgets. The published ones follow from the budgets
    as they are printed (7.6 ... 23.5, which are MiB); exact MiB (7.628 ... 23.541) change them by
    less than 0.1 %.

    Args:
        budgets_mib: at least two, ascending.
        accuracies: at each of them, in percent.
    """
    points = list(zip(budgets_mib, accuracies, strict=True))
    return sum(
        (right - left) * (low + high) / 2 / 100
        for (left, low), (right, high) in itertools.pairwise(points)
    )


def accuracy_per_mib(average_accuracy: float, budget_mib: float) -> float:
    """Percent of average accuracy per MiB: APM-S at the smallest budget, APM-E at the largest."""
    return average_accuracy / budget_mib


@dataclass(frozen=True)
class Spread:
    """A measure over the seeds of one setting."""

    mean: float
    """Over all seeds."""
    deviation: float | None
    """Sample standard deviation (n - 1); None for a single seed."""
    count: int
    """Seeds."""

    @classmethod
    def of_all(cls, values: Sequence[float | None]) -> "Spread | None":
        """The spread of one value a seed; None if one of them was not measured."""
        known = [value for value in values if value is not None]
        return cls.of(known) if len(known) == len(values) else None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one value a seed."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Areas:
    """What a method's accuracies over several budgets come to (MEMO, section 3 and table 1)."""

    auc_a: float
    """Area under average incremental accuracy as a fraction, over MiB."""
    auc_l: float
    """Area under last accuracy."""
    apm_s: float
    """Percent of average accuracy per MiB at the smallest budget."""
    apm_e: float
    """The same at the largest."""

    @classmethod
    def of(
        cls,
        budgets_mib: Sequence[float],
        averages: Sequence[Spread | None],
        lasts: Sequence[Spread | None],
    ) -> "Areas | None":
        """The areas under the means over seeds; None if one accuracy was not measured.

        Args:
            budgets_mib: at least two, ascending.
            averages: average incremental accuracy at each of them, in percent.
            lasts: last accuracy likewise.
        """
        average_means = [spread.mean for spread in averages if spread]
        last_means = [spread.mean for spread in lasts if spread]
        if not len(average_means) == len(last_means) == len(budgets_mib):
            return None
        return cls(
            area_under_curve(budgets_mib, average_means),
            area_under_curve(budgets_mib, last_means),
            accuracy_per_mib(average_means[0], budgets_mib[0]),
            accuracy_per_mib(average_means[-1], budgets_mib[-1]),
        )
