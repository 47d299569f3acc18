"""results.json is read as it was written, by this edgecil or an older one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecil.errors import RunError
from edgecil.evaluation.results import MergeResult, RunResults, StageResult, read_results

OLD_STAGE = {
    "stage": 1,
    "classes": 4,
    "accuracy": 80.0,
    "accuracy_by_task": [80.0],
    "state_bytes": 15,
    "bytes_by_owner": {"trunk": 15},
    "exemplars": 7,
    "seconds": 3.0,
}
"""As the first edgecil wrote it."""


def written(run: Path, *stages: dict[str, Any], **changed: Any) -> Path:
    """A run's folder with nothing but its results."""
    content: dict[str, Any] = {"method": "memo", "backbone": "resnet14", "budget_bytes": 16}
    content |= {"seed": 1993, "finished": False, "stages": stages, "versions": {}, "hardware": {}}
    (run / "results.json").write_text(json.dumps(content | changed))
    return run


def test_nothing_is_there_before_the_first_task_is_finished(tmp_path: Path) -> None:
    assert read_results(tmp_path) == RunResults()


def test_what_an_older_run_did_not_measure_is_none(tmp_path: Path) -> None:
    partly = OLD_STAGE | {"stage": 2, "accuracy_by_task": [float("nan"), 70.0], "accuracy": 70.0}
    results = read_results(written(tmp_path, OLD_STAGE, partly))
    first, second = results.stages
    assert first == StageResult(
        stage=1,
        classes=4,
        accuracy=80,
        accuracy_by_task=(80,),
        state_bytes=15,
        bytes_by_owner={"trunk": 15},
        exemplars=7,
        seconds=3,
        nearest_mean_accuracy=None,
        measured_classes=None,
    )
    assert second.accuracy_by_task == (None, 70)
    assert (second.accuracy, second.whole_accuracy) == (70, None)
    assert second.accuracy_in_words == "70.00 % over some of 4 classes"
    assert (results.accuracies, results.seconds) == ([80, None], 6)


def test_what_covers_some_classes_counts_for_no_classifier(tmp_path: Path) -> None:
    measured = OLD_STAGE | {"measured_classes": 4, "nearest_mean_accuracy": 81.0}
    partly = measured | {"stage": 2, "measured_classes": 3}
    results = read_results(written(tmp_path, measured, partly))
    assert results.accuracies == [80, None]
    assert results.nearest_mean_accuracies == [81, None]


def test_tasks_whose_results_are_lost_have_no_accuracy(tmp_path: Path) -> None:
    last = OLD_STAGE | {"stage": 3, "accuracy_by_task": [70.0, 80.0, 90.0]}
    results = read_results(written(tmp_path, last))
    assert results.accuracies == [None, None, 80]
    assert results.forgetting == [None, None, None]
    assert results.learned == 3


def test_what_a_later_edgecil_adds_is_passed_over(tmp_path: Path) -> None:
    plain = read_results(written(tmp_path, OLD_STAGE))
    assert read_results(written(tmp_path, OLD_STAGE | {"joules": 3}, weather="fine")) == plain


@pytest.mark.parametrize("lacking", ["accuracy", "accuracy_by_task", "bytes_by_owner", "exemplars"])
def test_a_stage_without_what_every_run_has_is_damaged(tmp_path: Path, lacking: str) -> None:
    stage = {name: value for name, value in OLD_STAGE.items() if name != lacking}
    with pytest.raises(RunError, match=r"results\.json is damaged; restore it from a copy"):
        read_results(written(tmp_path, stage))


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{}", '{"stages": 7}', '{"stages": [7]}', "[" * 100_000]
)
def test_another_text_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        read_results(tmp_path)


def test_results_are_read_without_torch() -> None:
    code = "import sys, edgecil.evaluation.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_merge_is_told_task_by_task_and_of_many_tasks_what_matters() -> None:
    few = MergeResult(((0, 1), (3, 4, 6)), (50.4, None, 30.0), (49.6, None, 31.0))
    assert few.in_words == (
        "one block now for tasks 1-2; tasks 4-5, 7; accuracy by task 50->50, ?->?, 30->31"
    )
    many = MergeResult(((0, 1),), (50.0,) * 20, (*(49.0,) * 18, 40.0, None))
    assert many.in_words == (
        "one block now for tasks 1-2; accuracy by task -1.5 points on average, task 19 lost most "
        "(50->40)"
    )
