"""What is recorded is what happened, changes nothing, and survives being killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgecil.memory.state import State
from edgecil.methods.lesson import Phase
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.newest import NewestBackbone
from edgecil.training.api import SilentReporter, train
from edgecil.training.checkpoint import Checkpoint, Checkpoints
from edgecil.training.gradients import GradientNorms
from edgecil.training.history import load_weights
from edgecil.training.loop import EpochReport
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from tests.edgecil.training.tiny import tiny_dataset


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Then sums are added in the same order whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def request(method: str = "memo", trunk: str = "auto") -> TrainRequest:
    return TrainRequest(
        data="tiny",
        budget="900kB",
        increment=3,
        method=method,
        trunk=trunk,
        backbone="convnet2",
        precision="fp32",
        epochs=3,
        batch_size=16,
        seed=1,
    )


def learned(
    folder: Path,
    asked: TrainRequest,
    *,
    resume: bool = False,
    keep_history: bool = True,
    reporter: SilentReporter | None = None,
) -> Run:
    train(
        asked,
        folder,
        device="cpu",
        resume=resume,
        keep_history=keep_history,
        reporter=reporter,
        dataset=tiny_dataset(train=12),
    )
    return Run(folder)


def network() -> ExpandableNetwork:
    parts = cut_backbone("convnet2", "last")
    return ExpandableNetwork(parts, 1, mean=(0.5,) * 3, std=(0.25,) * 3)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_norms_are_those_of_whole_layers_averaged_over_steps() -> None:
    backbone = NewestBackbone.of(network())
    norms = GradientNorms(backbone)
    shallow, deep = backbone.layers().values()
    shallow.requires_grad_(False)
    deep_parameters = list(deep.parameters())
    for value in (1.0, 3.0):
        for parameter in deep_parameters:
            parameter.grad = torch.full_like(parameter, value)
        norms.add()
    count = sum(p.numel() for p in deep_parameters)
    # Every element 1, then 3: norms sqrt(count) and 3 sqrt(count). The frozen layer has none.
    assert norms.take() == {"2": pytest.approx(2 * count**0.5)}
    assert norms.take() == {}


def test_recording_does_not_change_what_is_learned(tmp_path: Path) -> None:
    with_it = learned(tmp_path / "with", request())
    without = learned(tmp_path / "without", request(), keep_history=False)
    assert files(with_it.state_folder) == files(without.state_folder)
    assert not without.history.is_kept
    assert [stage.stage for stage in with_it.history.stages()] == [1, 2]
    rows = with_it.history.of_stage(2).gradients()
    assert [(row.epoch, row.layer) for row in rows] == [
        (epoch, layer) for epoch in (1, 2, 3) for layer in ("1", "2")
    ]
    assert all(row.norm > 0 for row in rows)


class FirstEpochs(SilentReporter):
    """Keeps the checkpoint of every task's first epoch."""

    def __init__(self, run: Run) -> None:
        self.found: list[Checkpoint] = []
        self._run = run

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        checkpoint = self._run.checkpoints.load(len(self.found) + 1)
        if report.epoch == 1 and checkpoint:
            self.found.append(checkpoint)


def test_weights_are_those_of_the_first_epoch_and_of_the_last(tmp_path: Path) -> None:
    reporter = FirstEpochs(Run(tmp_path / "run"))
    run = learned(tmp_path / "run", request(), reporter=reporter)
    for stage, checkpoint in zip(run.history.stages(), reporter.found, strict=True):
        recorded = network()
        load_weights(stage.first_epoch_file, recorded)
        newest = f"blocks.{stage.stage - 1}."
        for name, tensor in NewestBackbone.of(recorded).state_dict().items():
            there = name.replace("block.", newest)
            assert torch.equal(tensor, checkpoint.network[there]), name
    load_weights(run.history.of_stage(2).last_epoch_file, recorded)
    kept = NewestBackbone.of(State.read(run.state_folder).network())
    for mine, theirs in zip(
        NewestBackbone.of(recorded).parameters(), kept.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_a_frozen_trunk_has_no_gradients(tmp_path: Path) -> None:
    run = learned(tmp_path / "run", request(trunk="freeze"))
    assert {row.layer for row in run.history.of_stage(1).gradients()} == {"1", "2"}
    assert {row.layer for row in run.history.of_stage(2).gradients()} == {"2"}


def test_foster_is_recorded_while_it_compresses_into_the_network_that_is_kept(
    tmp_path: Path,
) -> None:
    run = learned(tmp_path / "run", request("foster"))
    rows = run.history.of_stage(2).gradients()
    assert {row.phase for row in rows} == {"compress"}
    assert [row.epoch for row in rows if row.layer == "1"] == [1, 2, 3]


@pytest.mark.parametrize("after", ["history", "checkpoint"])
def test_a_run_killed_after_every_epoch_has_the_same_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    whole = learned(tmp_path / "whole", request())
    save = Checkpoints.save
    saved: list[int] = []

    def save_or_die(self: Checkpoints, checkpoint: Checkpoint) -> None:
        saved.append(checkpoint.epoch)
        dies = len(saved) % 2 == 1
        if not dies or after == "checkpoint":
            save(self, checkpoint)
        if dies:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_or_die)
    monkeypatch.setattr("edgecil.training.task.KEPT_EVERY_SECONDS", 0)
    kills = 0
    while True:
        try:
            # Once begun, the folder is enough to go on with it.
            run = learned(tmp_path / "run", request(), resume=True, keep_history=not kills)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 3
    assert files(run.history.folder) == files(whole.history.folder)
    assert files(run.state_folder) == files(whole.state_folder)
