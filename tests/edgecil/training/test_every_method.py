"""Every method learns, stays within its budget at every stage, and goes on after being stopped."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgecil.evaluation.results import StageResult
from edgecil.methods import METHODS, TaskView
from edgecil.methods.lesson import Phase
from edgecil.training.api import SilentReporter, train
from edgecil.training.loop import EpochReport
from edgecil.training.request import TrainRequest
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from tests.edgecil.training.tiny import tiny_dataset

BUDGET_BYTES = 560_000
STAGES = 3


def learned(
    method: str, folder: Path, *, resume: bool = False, reporter: SilentReporter | None = None
) -> list[StageResult]:
    request = TrainRequest(
        data="tiny",
        budget=str(BUDGET_BYTES),
        increment=2,
        method=method,
        backbone="resnet14" if method == "memo-2" else "convnet2",
        precision="int8" if method == "memo-2" else "fp16",
        epochs=2,
        batch_size=16,
        seed=1,
    )
    dataset = tiny_dataset()
    return train(request, folder, device="cpu", resume=resume, reporter=reporter, dataset=dataset)


def state_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "state").iterdir()}


class StopsInTheMiddle(SilentReporter):
    """Pulls the plug after an epoch of every phase of every task, once each."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, str]] = set()
        self.stage = 0

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        self.stage = task.stage

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        if (self.stage, phase.name) not in self.seen:
            self.seen.add((self.stage, phase.name))
            raise Stopped("for the test", EXIT_STOPPED)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_within_its_budget_and_goes_on_where_it_was_stopped(
    method: str, tmp_path: Path
) -> None:
    results = learned(method, tmp_path / "whole")
    assert [result.classes for result in results] == [2, 4, 6]
    assert all(result.state_bytes <= BUDGET_BYTES for result in results)
    rehearsed = METHODS[method].keeps_exemplars
    assert all((result.exemplars > 0) == rehearsed for result in results)

    plug, stops = StopsInTheMiddle(), 0
    while True:
        try:
            again = learned(method, tmp_path / "stopped", resume=True, reporter=plug)
            break
        except Stopped:
            stops += 1
    # FOSTER's later tasks have two phases, and slda's none.
    assert stops == {"foster": 5, "slda": 1}.get(method, STAGES)
    assert state_files(tmp_path / "stopped") == state_files(tmp_path / "whole")
    assert [result.accuracy for result in again] == [result.accuracy for result in results]


class CountsPictures(SilentReporter):
    """Notes how many pictures each task has to train on."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        self.counts.append(image_count)


@pytest.mark.parametrize(
    ("method", "counts"),
    # Tasks have 48 pictures each; the budget holds more exemplars than there are.
    [("finetune", [48, 48, 48]), ("replay", [48, 96, 144]), ("joint", [48, 96, 144])],
)
def test_only_rehearsal_and_joint_training_see_old_pictures(
    method: str, counts: list[int], tmp_path: Path
) -> None:
    counter = CountsPictures()
    learned(method, tmp_path / method, reporter=counter)
    assert counter.counts == counts


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    learned("replay", tmp_path / "run")
    results_file = tmp_path / "run" / "results.json"
    before = results_file.stat().st_mtime_ns
    learned("replay", tmp_path / "run", resume=True)
    assert results_file.stat().st_mtime_ns == before


def test_icarl_is_measured_twice_and_the_others_once(tmp_path: Path) -> None:
    icarl = learned("icarl", tmp_path / "icarl")
    assert all(result.nearest_mean_accuracy is not None for result in icarl)
    # Coloured noise around a colour a class: the nearest mean should be hard to miss.
    assert icarl[-1].nearest_mean_accuracy > 60  # type: ignore[operator]
    replay = learned("replay", tmp_path / "replay")
    assert [result.nearest_mean_accuracy for result in replay] == [None] * STAGES


def test_the_confusion_matrix_counts_every_test_picture_once(tmp_path: Path) -> None:
    last = learned("replay", tmp_path / "run")[-1]
    matrix = np.loadtxt(tmp_path / "run" / "confusion.csv", delimiter=",", dtype=int)
    assert matrix.sum(axis=1).tolist() == [8] * 6
    assert 100 * matrix.trace() / matrix.sum() == pytest.approx(last.accuracy)
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written["task_sizes"] == [2, 2, 2]
