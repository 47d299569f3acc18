"""A run that merges blocks: what a bundle says of them, and what an update brings and takes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from edgecil.cli import app
from edgecil.evaluation.results import StageResult
from edgecil.memory.state import State
from edgecil.training.api import SilentReporter, train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil_devices import Classifier
from edgecil_devices.package import read_package
from edgecil_devices.store.install import install
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update
from edgecil_export import ExportRequest, export
from edgecil_export.keys import new_key
from edgecil_export.update import UpdateReport, make_update
from tests.edgecil.training.tiny import tiny_dataset


class _Copies(SilentReporter):
    """Keeps the run as it is after the fifth task."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def stage_finished(self, result: StageResult, *_: object) -> None:
        if result.stage == 5:
            earlier = self._run.with_name("earlier")
            shutil.copytree(self._run / "state", earlier / "state")
            shutil.copy(self._run / "config.json", earlier)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UpdateReport]:
    """A run of six tasks and three blocks, its release of five tasks, and the update to six."""
    folder = tmp_path_factory.mktemp("merged")
    request = TrainRequest(
        data="tiny",
        budget="200kB",
        increment=1,
        backbone="convnet2",
        trunk="freeze",
        epochs=2,
        batch_size=16,
        seed=1,
        max_blocks=3,
    )
    run = folder / "run"
    train(request, run, device="cpu", dataset=tiny_dataset(), reporter=_Copies(run))
    new_key(folder / "k")
    signed = ExportRequest(weights="fp32", sign=(folder / "k",))
    export(folder / "earlier", folder / "1.edgecil", signed)
    return folder, make_update(run, folder / "1.edgecil", folder / "2.update", signed)


def test_a_bundle_says_which_tasks_a_block_stands_for(made: tuple[Path, UpdateReport]) -> None:
    folder, _ = made
    stands_for = State.read(folder / "run" / "state").settings.block_tasks
    assert stands_for is not None
    blocks = read_package(folder / "2.update").manifest.blocks
    assert [block.tasks for block in blocks] == [t if len(t) > 1 else None for t in stands_for]
    assert [block.task for block in blocks] == [max(tasks) for tasks in stands_for]
    told = CliRunner().invoke(app, ["info", str(folder / "2.update")]).stdout
    assert told.count("stands for the tasks") == sum(len(tasks) > 1 for tasks in stands_for)


def test_an_update_carries_the_merged_block_the_new_one_and_the_head(
    made: tuple[Path, UpdateReport],
) -> None:
    folder, report = made
    before, after = (
        {blob.sha256 for blob in read_package(folder / name).manifest.blocks}
        for name in ("1.edgecil", "2.update")
    )
    assert len(after - before) == 2  # two of three old blocks became one, and the task's own came
    carried = set(report.carried)
    assert "trunk.onnx" not in carried
    assert "head.npy" in carried
    assert sum(name.startswith("block-") for name in carried) == 2


def test_a_store_takes_it_and_goes_back_to_all_the_blocks_that_were(
    made: tuple[Path, UpdateReport], tmp_path: Path
) -> None:
    folder, _ = made
    store = tmp_path / "store"
    pixels = tiny_dataset().test.pixels()

    def logits() -> np.ndarray:
        return Classifier.load(store).logits(pixels)

    def of_torch(run: str) -> np.ndarray:
        network = State.read(folder / run / "state").network()
        with torch.inference_mode():
            found: np.ndarray = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
        return found

    install(folder / "1.edgecil", store, Path(f"{folder / 'k'}.pub"))
    np.testing.assert_allclose(logits(), of_torch("earlier"), rtol=1e-3, atol=1e-3)
    update(folder / "2.update", store)
    np.testing.assert_allclose(logits(), of_torch("run"), rtol=1e-3, atol=1e-3)
    rollback(store)
    np.testing.assert_allclose(logits(), of_torch("earlier"), rtol=1e-3, atol=1e-3)


def test_info_and_report_tell_of_a_run_s_merges(
    made: tuple[Path, UpdateReport], tmp_path: Path
) -> None:
    run = made[0] / "run"
    told = CliRunner().invoke(app, ["info", str(run)]).stdout
    assert told.count("one block now for tasks") == 3
    assert "blocks: 3, which stand for the tasks" in told
    page = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", str(run), "--out", str(page)])
    assert done.exit_code == 0, done.output
    merges = [stage.merge for stage in Run(run).stage_results() if stage.merge]
    assert page.read_text().count("Merged blocks") >= 1
    first = np.mean([accuracy or 0.0 for accuracy in merges[0].after])
    assert f"{first:.1f}" in page.read_text()
