"""What the runs of a comparison came to, read from their folders."""

from dataclasses import dataclass
from pathlib import Path

from edgecil.evaluation.measures import average_incremental_accuracy
from edgecil.evaluation.results import RunResults, read_results

LINEAR, NEAREST_MEAN = "linear", "nearest-mean"
"""The two classifiers that can be measured: the head, and the nearest mean of the exemplars."""


@dataclass(frozen=True)
class Result:
    """One finished run, measured with one classifier."""

    method: str
    """Name of the method."""
    classifier: str
    """`linear` or `nearest-mean`."""
    backbone: str
    """Name of the backbone."""
    budget_bytes: int
    """Bound on the state."""
    seed: int
    """The run's."""
    average_accuracy: float | None
    """Average incremental accuracy in percent; None where a class was not measured, as below."""
    last_accuracy: float | None
    """Accuracy after the last task in percent."""
    forgetting: float | None
    """After the last task, in points; not known of the nearest mean."""
    exemplars: int
    """Pictures kept after the last task."""
    state_bytes: int
    """What is kept after the last task."""
    seconds: float
    """Time the whole run took."""


def results_of(folder: Path) -> list[Result]:
    """A finished run's results, one for each classifier; none if it is not finished.

    Raises:
        RunError: results.json is damaged.
    """
    run = read_results(folder)
    if not (run.finished and run.stages):
        return []
    linear = _result(run, LINEAR, run.accuracies, run.forgetting[-1])
    if any(stage.nearest_mean_accuracy is None for stage in run.stages):
        return [linear]
    return [linear, _result(run, NEAREST_MEAN, run.nearest_mean_accuracies, None)]


def _result(
    run: RunResults, classifier: str, accuracies: list[float | None], forgotten: float | None
) -> Result:
    return Result(
        method=run.method,
        classifier=classifier,
        backbone=run.backbone,
        budget_bytes=run.budget_bytes,
        seed=run.seed,
        average_accuracy=average_incremental_accuracy(accuracies),
        last_accuracy=accuracies[-1],
        forgetting=forgotten,
        exemplars=run.stages[-1].exemplars,
        state_bytes=run.stages[-1].state_bytes,
        seconds=run.seconds,
    )
