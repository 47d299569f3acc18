"""What the runs of a comparison came to, read from their folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecil.errors import RunError
from edgecil.evaluation.measures import average_incremental_accuracy, forgetting
from edgecil.evaluation.stored import accuracy_over_all, read_results

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
    path = folder / "results.json"
    if not path.exists():
        return []
    try:
        run = read_results(path)
        if not run["finished"]:
            return []
        stages = run["stages"]
        linear = _result(
            run, LINEAR, [accuracy_over_all(stage) for stage in stages], _last_forgetting(stages)
        )
        key = "nearest_mean_accuracy"
        if any(stage.get(key) is None for stage in stages):
            return [linear]
        nearest_mean = [accuracy_over_all(stage, key) for stage in stages]
        return [linear, _result(run, NEAREST_MEAN, nearest_mean, None)]
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(f"{path} is damaged; restore it from a copy") from error


def _last_forgetting(stages: list[dict[str, Any]]) -> float | None:
    return forgetting([stage["accuracy_by_task"] for stage in stages])[-1]


def _result(
    run: dict[str, Any], classifier: str, accuracies: list[float | None], forgotten: float | None
) -> Result:
    last = run["stages"][-1]
    return Result(
        method=run["method"],
        classifier=classifier,
        backbone=run["backbone"],
        budget_bytes=run["budget_bytes"],
        seed=run["seed"],
        average_accuracy=average_incremental_accuracy(accuracies),
        last_accuracy=accuracies[-1],
        forgetting=forgotten,
        exemplars=last["exemplars"],
        state_bytes=last["state_bytes"],
        seconds=run["seconds"],
    )
