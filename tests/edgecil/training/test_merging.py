"""Runs in which blocks are merged: the budget holds, a resume ends the same, learn goes on so."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.errors import UsageError
from edgecil.evaluation.results import StageResult, read_results
from edgecil.memory.state import State
from edgecil.methods import TaskView
from edgecil.methods.lesson import Phase
from edgecil.pictures.batches import ResidentImages
from edgecil.planning.data_facts import facts_of
from edgecil.planning.planner import plan
from edgecil.training.api import train
from edgecil.training.loop import EpochReport
from edgecil.training.merging import choose_merge
from edgecil.training.reporters import SilentReporter
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import demand_of
from edgecil.training.run import Run
from edgecil.training.stopping import Deadline, Stopped
from tests.edgecil.methods.test_block_merge import three_blocks
from tests.edgecil.training.tiny import tiny_dataset


def request(**changes: object) -> TrainRequest:
    asked: dict[str, object] = {
        "data": "tiny",
        "budget": "200kB",
        "increment": 1,
        "backbone": "convnet2",
        "epochs": 2,
        "batch_size": 16,
        "seed": 1,
        "max_blocks": 3,
    }
    return TrainRequest(**(asked | changes))  # type: ignore[arg-type]


def learned(folder: Path, asked: TrainRequest, **how: object) -> list[StageResult]:
    return train(asked, folder, device="cpu", dataset=tiny_dataset(), **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merging") / "run"
    learned(folder, request())
    return folder


def test_there_are_never_more_blocks_than_were_allowed_and_the_budget_holds(run: Path) -> None:
    stages = read_results(run).stages
    assert all(stage.state_bytes <= 200_000 for stage in stages)
    assert [stage.block_tasks for stage in stages[:3]] == [None] * 3
    for stage in stages[3:]:
        assert stage.block_tasks is not None
        assert len(stage.block_tasks) == 3
        # Each task so far stands in one block, and the newest block is of the newest task alone.
        tasks = [task for block in stage.block_tasks for task in block]
        assert sorted(tasks) == list(range(stage.stage))
        assert stage.block_tasks[-1] == (stage.stage - 1,)
        assert [max(block) for block in stage.block_tasks] == sorted(map(max, stage.block_tasks))
    assert len(State.read(run / "state").network().blocks) == 3


def test_what_a_merge_cost_the_tasks_before_is_measured(run: Path) -> None:
    stages = read_results(run).stages
    assert all(stage.merge is None for stage in stages[:3])
    for before, stage in pairwise(stages[2:]):
        assert stage.merge is not None
        assert stage.merge.before == before.accuracy_by_task
        assert len(stage.merge.after) == stage.stage - 1
        assert stage.block_tasks is not None
        new = set(stage.block_tasks) - set(before.block_tasks or ())
        assert {tasks for tasks in new if len(tasks) > 1} == set(stage.merge.blocks)


def test_a_plan_says_to_the_byte_what_the_model_takes(run: Path) -> None:
    state, settings = State.read(run / "state"), Run(run).settings()
    demand = demand_of(settings, facts_of(tiny_dataset(), [settings.codec]))
    planned = plan(demand, settings.backbone, settings.cut, settings.budget_bytes)
    # It counts means and deviations of four digits, where these have one and two.
    rounding = 3 * 3 + 3 * 2
    assert planned.stages[-1].model_bytes - rounding == state.size_without_exemplars_bytes
    assert [stage.blocks for stage in planned.stages] == [1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize("epochs", [7, 8, 9])
def test_a_run_that_is_stopped_in_a_merge_or_after_it_ends_in_the_same_bytes(
    run: Path, tmp_path: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three tasks have two epochs each; the fourth begins with the two of its merge.
    left = [epochs]

    def check(self: object, seconds: float = 0.0) -> None:
        if seconds:
            left[0] -= 1
            if left[0] == 0:
                raise Stopped("as asked", 75, "go on")

    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "check", check)
        with pytest.raises(Stopped):
            learned(tmp_path / "again", request())
    learned(tmp_path / "again", request(), resume=True)
    for path in (run / "state").iterdir():
        assert (tmp_path / "again" / "state" / path.name).read_bytes() == path.read_bytes()
    first, second = (
        [stage.merge for stage in read_results(folder).stages]
        for folder in (run, tmp_path / "again")
    )
    assert first == second


def test_a_stop_while_a_task_is_measured_loses_neither_its_merge_nor_its_seconds(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowFourth(SilentReporter):
        def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
            self.seconds = 0.5 if task.stage == 4 else 0.0

        def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
            time.sleep(self.seconds)

    left, record = [4], Run.record_confusion

    def stopped(self: Run, matrix: np.ndarray) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stopped("as asked", 143, "go on")
        record(self, matrix)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record_confusion", stopped)
        with pytest.raises(Stopped):
            learned(tmp_path / "again", request(), reporter=SlowFourth())
    assert State.read(tmp_path / "again" / "state").settings.stage == 4
    assert len(read_results(tmp_path / "again").stages) == 3
    learned(tmp_path / "again", request(), resume=True)
    stages = read_results(tmp_path / "again").stages
    assert stages[3].seconds > 4 * 0.5  # its merge has two epochs, and so has the task
    assert [stage.merge for stage in stages] == [stage.merge for stage in read_results(run).stages]
    assert not (tmp_path / "again" / "checkpoint").exists()


def test_new_pictures_are_looked_at_where_no_exemplar_is_kept() -> None:
    train_split = tiny_dataset().train
    images = ResidentImages(
        train_split.pixels(), train_split.labels, torch.device("cpu"), mirrors=True
    )
    merge = choose_merge(three_blocks(), images, (0, 0, 0), kept=2)
    assert sorted(k for group in merge.groups for k in group) == [0, 1, 2]
    assert len(merge.groups) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "thrift"}, "one block at all times"),
        ({"max_blocks": 1}, "--max-blocks 1 leaves no room .*; give 2 or more"),
        ({"no_merge": True}, "leave out --no-merge"),
        ({"accounting": "published"}, "a block a task"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request(**changes)
