"""slda learns without pictures: what it keeps, how it goes on, and what its head is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.budget import Ledger
from edgecil.data import ImageDataset
from edgecil.errors import BudgetError, StateCorruptError, StateVersionError, TrainingError
from edgecil.evaluation.results import StageResult
from edgecil.memory import state as state_module
from edgecil.memory.state import State
from edgecil.methods import TaskView, method_named
from edgecil.planning.plans import Plan
from edgecil.training.api import SilentReporter, train
from edgecil.training.class_features import with_new_classes
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from tests.edgecil.methods.by_hand import RECIPE, network, second_task
from tests.edgecil.training.tiny import tiny_dataset

BUDGET_BYTES = 560_000


class Remembers(SilentReporter):
    """Notes what was planned, and copies the state after every task."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.planned, self.epochs = folder, [0], [0, 0, 0, 0]

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        self.run = run
        self.planned = [stage.model_bytes for stage in planned.stages]
        self.most, self.reason = planned.stages[-1].exemplars, reason

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        self.stage = task.stage

    def epoch_finished(self, phase: object, report: object) -> None:
        self.epochs[self.stage] += 1

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        shutil.copytree(self.run.state_folder, self.folder / f"after-{result.stage}")


def learned(
    folder: Path, dataset: ImageDataset | None = None
) -> tuple[list[StageResult], Remembers]:
    request = TrainRequest(
        data="tiny",
        budget=BUDGET_BYTES,
        increment=2,
        method="slda",
        backbone="convnet2",
        precision="fp16",
        epochs=2,
        batch_size=16,
        seed=1,
    )
    reporter = Remembers(folder)
    results = train(
        request, folder / "run", device="cpu", reporter=reporter, dataset=dataset or tiny_dataset()
    )
    return results, reporter


def state_after(folder: Path, stage: int) -> State:
    return State.read(folder / f"after-{stage}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slda")
    results, reporter = learned(folder)
    assert reporter.epochs == [0, 2, 0, 0]  # only the first task has any
    assert [result.exemplars for result in results] == [0, 0, 0]
    assert reporter.most == 0
    # What that costs is said before it is trained, with where it was measured.
    assert "slda keeps no pictures, which cost" in reporter.reason
    assert "benchmarks/results/without_pictures.md" in reporter.reason
    # A colour a class: what never saw a gradient of these classes tells them apart all the same.
    assert results[-1].accuracy is not None
    assert results[-1].accuracy > 80
    sizes = [Ledger.of_folder(folder / f"after-{stage}").total_bytes for stage in (1, 2, 3)]
    assert [result.state_bytes for result in results] == sizes
    empty_bytes = len(state_after(folder, 1).exemplars.to_bytes())
    grows_by = [len(state_after(folder, stage).exemplars.to_bytes()) for stage in (1, 2, 3)]
    planned = [size + more for size, more in zip(reporter.planned, grows_by, strict=True)]
    # Means and deviations of the pixels are written in as many digits as they have.
    assert empty_bytes > 0
    assert all(0 <= a - b < 24 for a, b in zip(planned, sizes, strict=True))
    return folder


def test_trunk_and_block_never_change_after_the_first_task(finished: Path) -> None:
    first, *later = (state_after(finished, stage) for stage in (1, 2, 3))
    for state in later:
        for part in ("trunk.safetensors", "block-00.safetensors"):
            assert state.parts[part] == first.parts[part]


def test_statistics_are_those_of_the_features_that_the_state_gives(finished: Path) -> None:
    state = state_after(finished, 3)
    statistics = state.statistics()
    assert statistics is not None
    assert statistics.counts.tolist() == [24] * 6
    data, net = tiny_dataset(), state.network()
    of_class = {name: np.flatnonzero(data.train.labels == c) for c, name in enumerate(data.classes)}
    within = np.zeros((64, 64))
    for label, name in enumerate(state.settings.classes):
        pixels = torch.from_numpy(data.train.pixels(of_class[name])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            seen = net.features(pixels).double().numpy()
        mean = seen.mean(axis=0)
        np.testing.assert_allclose(statistics.means[label], mean, atol=2e-3 * np.abs(mean).max())
        within += 23 * np.cov(seen.T)
    covariance = within / (6 * 24 - 6)
    found, peak = statistics.covariance, np.abs(covariance).max()
    np.testing.assert_allclose(found, covariance, atol=2e-3 * peak)


def test_the_head_is_the_closed_form_of_what_is_kept(finished: Path) -> None:
    state = state_after(finished, 3)
    statistics = state.statistics()
    assert statistics is not None
    rows, biases = statistics.head()
    head = state.network().head
    found, peak = head.weight.detach().numpy(), np.abs(rows).max()
    np.testing.assert_allclose(found, rows, atol=1e-2 * peak)
    np.testing.assert_allclose(head.bias.detach().numpy(), biases, atol=1e-2 * np.abs(biases).max())


def test_the_files_fill_the_budget_to_the_byte_and_one_less_is_refused(
    finished: Path, tmp_path: Path
) -> None:
    state = state_after(finished, 3)
    size_bytes = sum(len(data) for data in state.files().values())
    ledger = state.write(tmp_path / "state", size_bytes)
    assert ledger.total_bytes == size_bytes
    # 6 means and a triangle of 64 features in two bytes each, 6 counts, two scales and a header.
    owned = ledger.by_owner()["statistics"]
    assert 0 < owned - (2 * 6 * 64 + 2 * 64 * 65 // 2 + 4 * 6 + 8) < 400
    with pytest.raises(BudgetError, match="statistics"):
        state.write(tmp_path / "state", size_bytes - 1)


def test_only_states_with_statistics_are_too_new_for_older_readers(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_after(finished, 3)
    assert json.loads(state.files()["state.json"])["format"] == 4
    without = replace(state, parts={k: v for k, v in state.parts.items() if "stat" not in k})
    assert json.loads(without.files()["state.json"])["format"] == 1
    assert without.statistics() is None
    monkeypatch.setattr(state_module, "FORMAT", 3)
    with pytest.raises(StateVersionError, match="upgrade edgecil"):
        State.read(finished / "after-3")


def test_statistics_of_fewer_classes_are_refused(finished: Path) -> None:
    state, earlier = state_after(finished, 3), state_after(finished, 2)
    name = "statistics.safetensors"
    swapped = replace(state, parts=state.parts | {name: earlier.parts[name]})
    with pytest.raises(StateCorruptError, match="does not fit"):
        swapped.statistics()


class Features:
    """Features as pictures, and a network that takes them as they are."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table, self.head = table, torch.nn.Linear(table.shape[1], 1)

    def __len__(self) -> int:
        return len(self.table)

    def plain_batches(self, size: int, order: torch.Tensor):  # type: ignore[no-untyped-def]
        return ((self.table[part], None) for part in torch.split(order, size))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def eval(self) -> None:
        pass


def test_the_order_of_tasks_does_not_matter() -> None:
    every = Features(torch.from_numpy(np.random.default_rng(0).normal(size=(40, 7))).float())
    pictures = torch.split(torch.arange(40), [10, 20, 4, 6])

    def known_after(*tasks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        statistics = None
        for task in tasks:
            statistics = with_new_classes(
                statistics,
                every,  # type: ignore[arg-type]
                every,  # type: ignore[arg-type]
                [pictures[label] for label in task],
            )
        assert statistics is not None
        rows, biases = statistics.head()
        back = np.argsort([label for task in tasks for label in task])
        return rows[back], biases[back]

    rows, biases = known_after((0, 1), (2, 3))
    for other in (known_after((2,), (1,), (3, 0)), known_after((3, 2, 1, 0))):
        np.testing.assert_allclose(other[0], rows, rtol=1e-9)
        np.testing.assert_allclose(other[1], biases, rtol=1e-9)


def test_features_that_are_no_numbers_are_not_learned() -> None:
    broken = Features(torch.full((4, 7), torch.inf))
    with pytest.raises(TrainingError, match="begin another run with a lower --learning-rate"):
        with_new_classes(None, broken, broken, [torch.arange(4)])  # type: ignore[arg-type]


def test_one_picture_of_a_class_is_learned(tmp_path: Path) -> None:
    dataset = tiny_dataset(classes=4, train=1, test=2)
    results, _ = learned(tmp_path, dataset)
    assert len(results) == 2
    state = State.read(tmp_path / "run" / "state")
    statistics, network = state.statistics(), state.network()
    assert statistics is not None
    assert network.head.weight.isfinite().all()
    rows = [dataset.classes.index(name) for name in state.settings.classes]
    pixels = torch.from_numpy(dataset.train.pixels(np.array(rows))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        seen = network.features(pixels).numpy()
    np.testing.assert_allclose(statistics.means, seen, atol=2e-3 * np.abs(seen).max())


def test_a_later_lesson_has_nothing_to_train() -> None:
    net = network()
    lesson = method_named("slda").prepare(net, second_task(), RECIPE)
    assert list(lesson.phases) == []
    assert net.head.weight.shape == (5, 64)
