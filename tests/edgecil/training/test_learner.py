"""The learner keeps nothing but the state, fills the budget, and measures what it kept."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from edgecil.data import Split
from edgecil.errors import (
    BudgetError,
    DataError,
    RunError,
    StateError,
    TrainingError,
    UsageError,
)
from edgecil.evaluation.results import StageResult
from edgecil.memory.codecs import ImageCodec, codec_named
from edgecil.memory.exemplars import EncodedPictures, ExemplarSet
from edgecil.memory.state import State
from edgecil.methods import METHODS
from edgecil.methods.replay import Replay
from edgecil.pictures.sequences import Pictures
from edgecil.planning.candidates import Candidates, Offer
from edgecil.planning.data_facts import facts_of
from edgecil.training.api import SilentReporter, train
from edgecil.training.checkpoint import Checkpoint, Checkpoints
from edgecil.training.growth import NewTask, with_new_task
from edgecil.training.learner import Learner
from edgecil.training.loop import choose_device
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil.training.stopping import EXIT_STOPPED, Deadline, Stopped
from tests.edgecil.training.tiny import tiny_dataset

CPU = "cpu"


def request(**changes: object) -> TrainRequest:
    asked: dict[str, object] = {
        "data": "tiny",
        "budget": "260kB",
        "increment": 2,
        "backbone": "convnet2",
        "epochs": 2,
        "batch_size": 16,
        "seed": 1,
    }
    return TrainRequest(**(asked | changes))  # type: ignore[arg-type]


def learned(folder: Path, asked: TrainRequest, *, resume: bool = False) -> list[StageResult]:
    return train(asked, folder, device=CPU, resume=resume, dataset=tiny_dataset())


def state_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "state").iterdir()}


def test_a_run_keeps_state_and_results_and_nothing_of_its_training(tmp_path: Path) -> None:
    results = learned(tmp_path / "run", request(epochs=6))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".lock",
        "config.json",
        "confusion.csv",
        "metrics.csv",
        "results.json",
        "state",
    ]
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [stage["classes"] for stage in written["stages"]] == [2, 4, 6]
    assert written["finished"]
    accuracies = [stage.accuracy or 0.0 for stage in results]
    assert written["average_accuracy"] == pytest.approx(np.mean(accuracies))
    assert written["last_accuracy"] == accuracies[-1]
    # Six colours are easy; chance would be 17 %.
    assert accuracies[-1] > 60


@pytest.mark.parametrize(
    ("codec", "precision"), [("raw", "fp32"), ("webp-lossless", "fp16"), ("webp:60", "int8")]
)
def test_the_budget_is_filled_at_every_stage_and_never_exceeded(
    tmp_path: Path, codec: str, precision: str
) -> None:
    budget_bytes = {"fp32": 500_000, "fp16": 260_000, "int8": 150_000}[precision]
    asked = request(codec=codec, precision=precision, budget=str(budget_bytes), epochs=1)
    results = learned(tmp_path / "run", asked)
    for stage in results:
        available = stage.classes * 24
        full = stage.exemplars == available or budget_bytes - stage.state_bytes < 900
        assert stage.state_bytes <= budget_bytes
        assert full, (stage, budget_bytes)
        assert sum(stage.bytes_by_owner.values()) == stage.state_bytes
    on_disk = sum(len(data) for data in state_files(tmp_path / "run").values())
    assert on_disk == results[-1].state_bytes


def test_the_reported_accuracy_is_that_of_the_network_in_the_state(tmp_path: Path) -> None:
    results = learned(tmp_path / "run", request(epochs=1))
    state, dataset = State.read(tmp_path / "run" / "state"), tiny_dataset()
    names = [dataset.classes[label] for label in dataset.test.labels]
    logits = state.network()(torch.from_numpy(dataset.test.pixels()).permute(0, 3, 1, 2))
    found = [state.settings.classes[label] for label in logits.argmax(1)]
    right = 100 * np.mean([name == guess for name, guess in zip(names, found, strict=True)])
    assert results[-1].accuracy == pytest.approx(right)


def test_exemplars_are_a_prefix_of_each_class_as_blocks_arrive(tmp_path: Path) -> None:
    asked = request(codec="raw", precision="fp32", epochs=1, budget="500kB")
    dataset = tiny_dataset()
    kept: list[State] = []

    class Watching(SilentReporter):
        def stage_finished(self, result: object, ledger: object) -> None:
            kept.append(State.read(tmp_path / "run" / "state"))

    train(asked, tmp_path / "run", device=CPU, reporter=Watching(), dataset=dataset)
    for before, after in pairwise(kept):
        for old, new in zip(before.exemplars.payloads, after.exemplars.payloads, strict=False):
            assert old[: len(new)] == new


def test_published_accounting_keeps_the_same_quota_for_every_class(tmp_path: Path) -> None:
    # ConvNet2 with three blocks has 1,920 + 3 * 37,056 parameters; 40 images of 16x16x3 remain.
    budget = 4 * (1_920 + 3 * 37_056) + 40 * 768
    results = learned(tmp_path / "run", request(accounting="published", budget=str(budget)))
    assert [stage.exemplars for stage in results] == [2 * 20, 4 * 10, 6 * 6]


@pytest.mark.parametrize("options", [{}, {"trunk": "freeze", "recipe": "frozen"}])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, options: dict[str, str]) -> None:
    asked = request(**options)
    learned(tmp_path / "whole", asked)
    with pytest.raises(Stopped) as stopped:
        train(
            asked,
            tmp_path / "cut",
            device=CPU,
            stop_after_seconds=1e-3,
            dataset=tiny_dataset(),
        )
    assert stopped.value.exit_code == EXIT_STOPPED

    class StopsOften(SilentReporter):
        def __init__(self) -> None:
            self.epochs = 0

        def epoch_finished(self, phase: object, report: object) -> None:
            self.epochs += 1
            if self.epochs == 1:
                raise Stopped("enough", EXIT_STOPPED)

    stops = 0
    while True:
        try:
            train(
                asked,
                tmp_path / "cut",
                device=CPU,
                resume=True,
                reporter=StopsOften(),
                dataset=tiny_dataset(),
            )
            break
        except Stopped:
            stops += 1
            assert stops < 10
    assert stops == 5  # after each of two epochs of three tasks, the first of all apart
    assert state_files(tmp_path / "cut") == state_files(tmp_path / "whole")


def test_a_run_that_may_take_no_time_at_all_is_finished_call_by_call(tmp_path: Path) -> None:
    asked, calls = request(increment=3, epochs=1), 0
    learned(tmp_path / "whole", asked)
    finished = False
    while not finished:
        calls += 1
        try:
            train(
                asked,
                tmp_path / "cut",
                device=CPU,
                resume=True,
                stop_after_seconds=1e-9,
                dataset=tiny_dataset(),
            )
            finished = True
        except Stopped:
            assert calls < 4
    assert calls == 4  # the epoch of a task, then its end, twice
    assert state_files(tmp_path / "cut") == state_files(tmp_path / "whole")


def test_quick_epochs_are_kept_now_and_then_and_a_kill_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, clock = request(increment=6, epochs=9), iter(0.7 * tick for tick in range(1000))
    learned(tmp_path / "whole", asked)
    save, saved = Checkpoints.save, []

    def noting(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
        saved.append(checkpoint.epoch)
        save(checkpoints, checkpoint)
        if checkpoint.epoch == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", noting)
        # Looked at before an epoch might be kept, and once it was.
        patch.setattr("edgecil.training.task.time.monotonic", lambda: next(clock))
        with pytest.raises(KeyboardInterrupt):
            learned(tmp_path / "killed", asked)
    assert saved == [1, 4, 7]  # every third, 2.1 s after the one before
    learned(tmp_path / "killed", asked, resume=True)
    assert state_files(tmp_path / "killed") == state_files(tmp_path / "whole")


def test_a_run_in_the_way_is_refused_and_so_are_changed_settings(tmp_path: Path) -> None:
    learned(tmp_path / "run", request(epochs=1))
    before = state_files(tmp_path / "run")
    with pytest.raises(RunError, match="--resume"):
        learned(tmp_path / "run", request(epochs=1))
    with pytest.raises(RunError, match="epochs: 1 -> 2"):
        learned(tmp_path / "run", request(epochs=2), resume=True)
    assert state_files(tmp_path / "run") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("do not touch")
    with pytest.raises(RunError, match="not empty"):
        learned(tmp_path / "other", request())


def test_a_finished_run_resumed_does_nothing(tmp_path: Path) -> None:
    first = learned(tmp_path / "run", request(epochs=1))
    before = state_files(tmp_path / "run")
    assert learned(tmp_path / "run", request(epochs=1), resume=True) == first
    assert state_files(tmp_path / "run") == before


def test_a_damaged_state_is_refused_on_resume(tmp_path: Path) -> None:
    learned(tmp_path / "run", request(epochs=1))
    head = tmp_path / "run" / "state" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    with pytest.raises(StateError, match="head.safetensors"):
        learned(tmp_path / "run", request(epochs=1), resume=True)


def test_a_budget_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="smallest budget that fits"):
        learned(tmp_path / "run", request(budget="50kB"))
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_too_small_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    told = "convnet4 takes pictures of 31 px or more.*; give --image-size or another --backbone"
    for more in ({}, {"time": "1h", "epochs": None}):
        with pytest.raises(UsageError, match=told):
            learned(tmp_path / "run", request(backbone="convnet4", budget="20MB", **more))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_stops_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="begin another run with a lower --learning-rate"):
        learned(tmp_path / "run", request(learning_rate=1e12, epochs=3))


@pytest.mark.parametrize(
    "place",
    [
        "edgecil.networks.ExpandableNetwork.to",
        "edgecil.training.learner.images_on",
        "edgecil.training.loop.behind_trunk",
        "edgecil.training.loop.SGD.step",
        "edgecil.training.loop.measure_statistics",
        "edgecil.training.learner.class_features",
        "edgecil.training.learner.predicted_labels",
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch", "cublas"],
)
def test_a_full_card_is_told_in_a_sentence_wherever_it_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: RuntimeError
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(place, full)
    with pytest.raises(TrainingError, match="ran out of memory; go on with --device cpu"):
        learned(tmp_path / "run", request(epochs=1, increment=6))


def test_what_is_no_full_card_is_not_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("edgecil.training.learner.class_features", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        learned(tmp_path / "run", request(epochs=1, increment=6))


def test_new_classes_become_the_next_task(tmp_path: Path) -> None:
    learned(tmp_path / "run", request(budget="400kB"))
    run = Run(tmp_path / "run")
    new = replace(tiny_dataset(classes=3, seed=5), classes=("teal", "plum", "rust"))
    facts = facts_of(new, [run.settings().codec])
    settings, choice = with_new_task(run.settings(), NewTask("more", 0.2, facts))
    assert [stage.classes for stage in choice.plan.stages] == [2, 4, 6, 9]
    settings.save(run.config_file)
    sources = [tiny_dataset(), new]
    learner = Learner(run, settings, sources, choose_device(CPU), SilentReporter(), Deadline())
    results = learner.learn()
    assert [stage.classes for stage in results] == [2, 4, 6, 9]
    assert State.read(run.state_folder).settings.task_sizes == (2, 2, 2, 3)
    assert results[-1].state_bytes <= 400_000


def test_a_new_task_is_refused_if_a_class_is_known_or_the_budget_too_small(tmp_path: Path) -> None:
    learned(tmp_path / "run", request(epochs=1))
    settings = Run(tmp_path / "run").settings()
    facts = facts_of(tiny_dataset(), [settings.codec])
    with pytest.raises(DataError, match="knows of more already: 'colour-0', .* and 1 more; give"):
        with_new_task(settings, NewTask("more", 0.2, facts))
    new = replace(tiny_dataset(classes=1), classes=("teal",))
    facts = facts_of(new, [settings.codec])
    with pytest.raises(BudgetError, match="smallest budget that fits"):
        with_new_task(settings, NewTask("more", 0.2, facts, 100_000))


@pytest.mark.parametrize("method", ["replay", "memo"])
def test_a_task_of_one_picture_is_refused_before_it_is_trained(method: str, tmp_path: Path) -> None:
    one = tiny_dataset(classes=2, train=1)
    with pytest.raises(DataError, match="task 1 has one picture .* begin another run with more"):
        train(request(increment=1, method=method), tmp_path / "one", device=CPU, dataset=one)
    assert not (tmp_path / "one" / "metrics.csv").exists()
    # Later tasks have exemplars beside, which a method without any has not.
    first, second = tiny_dataset(classes=2, train=4), np.array([0, 1, 2, 3, 7])
    few = replace(first, train=first.train.subset(second))
    asked = request(increment=1, method="finetune")
    with pytest.raises(DataError, match="task 2 has one picture"):
        train(asked, tmp_path / "two", device=CPU, dataset=few)
    results = train(
        request(increment=1, method=method), tmp_path / "three", device=CPU, dataset=few
    )
    assert [stage.classes for stage in results] == [1, 2]


def test_pictures_that_are_encoded_already_are_not_encoded_again() -> None:
    codec = codec_named("jpeg:60")
    new = tiny_dataset(classes=1).train
    payloads = codec.encode_many(new.pixels())
    candidates = Candidates(EncodedPictures.of(new, codec), torch.randn(len(new), 4), codec)
    exemplars = Offer(ExemplarSet.empty(codec, 16), [candidates]).filling(1 << 20)
    assert sorted(exemplars.payloads[0]) == sorted(payloads)


def test_new_pictures_are_seen_as_exemplars_will_be_unless_the_method_says_otherwise() -> None:
    new, method = tiny_dataset(classes=1).train, Replay()
    assert method.as_trained_on(new, codec_named("webp-lossless")) is new
    lossy = codec_named("jpeg:60")
    seen = method.as_trained_on(new, lossy)
    np.testing.assert_array_equal(seen.pixels(), lossy.roundtrip(new.pixels()))


def test_a_method_may_see_new_pictures_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(Replay):
        """Sees every new picture as black, and therefore keeps black exemplars."""

        def as_trained_on(self, new: Split, codec: ImageCodec) -> Pictures:
            return super().as_trained_on(replace(new, images=np.zeros_like(new.pixels())), codec)

    monkeypatch.setitem(METHODS, "blind", Blind)
    learned(tmp_path / "run", request(method="blind", codec="webp:60", epochs=1))
    state = State.read(tmp_path / "run" / "state")
    assert len(state.exemplars)
    assert not state.exemplars.pixels().any()
