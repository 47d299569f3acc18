"""A run's three views: numbers, files, and what is said of what is missing."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.analysis.inspection import Inspection, inspect_run
from edgecil.data import ImageDataset
from edgecil.errors import DataError, RunError, UsageError
from edgecil.training import run_data
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from tests.edgecil.training.tiny import tiny_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three tasks whose trunk is frozen after the first."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    request = TrainRequest(
        data="tiny",
        budget="2MB",
        increment=2,
        backbone="resnet14",
        trunk="freeze",
        epochs=2,
        batch_size=16,
        seed=1,
    )
    train(request, folder, device="cpu", keep_history=True, dataset=tiny_dataset(train=12))
    return folder


@pytest.fixture(autouse=True)
def data_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(data: str, **options: object) -> ImageDataset:
        return tiny_dataset(train=12)

    monkeypatch.setattr(run_data, "load_dataset", load_dataset)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def inspected(folder: Path, image_count: int = 48, stage: int | None = None) -> Inspection:
    cpu = torch.device("cpu")
    return inspect_run(folder, stage=stage, data_dir=None, image_count=image_count, device=cpu)


def test_a_finished_run_shows_all_stages_and_no_notes(trained: Path) -> None:
    found = inspected(trained)
    assert found.notes == ()
    assert found.learned_stages == (1, 2, 3)
    assert {row.stage for row in found.gradients} == {1, 2, 3}
    assert found.shown_stage == 3
    assert inspected(trained, stage=2).shown_stage == 2
    assert [(layer.name, layer.group, layer.in_trunk) for layer in found.layers][-3:] == [
        ("2.2", "group 2", True),
        ("3.1", "group 3", False),
        ("3.2", "group 3", False),
    ]
    # 3 x 16 x 9 weights of the convolution, 16 + 16 of BatchNorm.
    assert found.layers[0].parameters == 464
    changes = {(c.stage, c.layer): c.mean_squared_change for c in found.changes}
    assert all(changes[1, layer.name] > 0 for layer in found.layers)
    for layer in found.layers:
        assert (changes[3, layer.name] == 0) == layer.in_trunk


def test_a_frozen_trunk_is_the_same_for_all_tasks_and_their_blocks_are_not(trained: Path) -> None:
    similarity = inspected(trained).similarity
    assert similarity is not None
    assert (similarity.stages, similarity.images) == ((1, 2, 3), 48)
    assert list(similarity.by_depth) == ["stem", "group 1", "group 2", "group 3", "features"]
    # BatchNorm's statistics are frozen too: the maps are equal to the last bit.
    np.testing.assert_allclose(similarity.by_depth["group 2"], 1, atol=1e-6)
    deep = np.array(similarity.by_depth["features"])
    np.testing.assert_allclose(np.diag(deep), 1, atol=1e-6)
    assert deep[0, 2] < 0.999


def test_a_run_without_history_names_the_remedy(run: Path) -> None:
    shutil.rmtree(run / "history")
    with pytest.raises(RunError, match="train again with --keep-history"):
        inspected(run)
    (run / "history" / "stage-01").mkdir(parents=True)
    with pytest.raises(RunError, match="needed none, as with slda"):
        inspected(run)
    (run / "results.json").unlink()
    with pytest.raises(RunError, match="no finished epoch yet"):
        inspected(run)


def test_what_is_missing_is_left_out_and_said(run: Path) -> None:
    (run / "history" / "stage-02" / "first-epoch.safetensors").unlink()
    (run / "history" / "stage-03" / "last-epoch.safetensors").unlink()
    found = inspected(run)
    assert found.notes == (
        "task 3: unfinished: gradients alone are shown, as far as they go",
        "task 2: recorded from a later epoch on: the change since the first is left out",
    )
    assert {row.stage for row in found.gradients} == {1, 2, 3}
    assert found.shown_stage == 2
    assert {change.stage for change in found.changes} == {1}
    assert found.similarity is not None
    assert found.similarity.stages == (1, 2)


def test_tasks_to_come_and_tasks_before_recording_are_told_apart(run: Path) -> None:
    shutil.rmtree(run / "history" / "stage-01")
    shutil.rmtree(run / "history" / "stage-03")
    results = json.loads((run / "results.json").read_text())
    results["stages"].pop()
    (run / "results.json").write_text(json.dumps(results))
    found = inspected(run)
    assert found.notes == (
        "task 1: trained without --keep-history",
        "task 3: not trained yet",
        "similarity is between tasks: two must have been learned",
    )
    assert found.similarity is None


def test_without_the_pictures_two_views_are_left(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(data: str, **options: object) -> ImageDataset:
        raise DataError("photos cannot be found; put them back")

    monkeypatch.setattr(run_data, "load_dataset", gone)
    found = inspected(run)
    assert found.similarity is None
    assert found.notes == (
        "the networks' similarity is left out: photos cannot be found; put them back",
    )
    assert found.changes


def test_without_test_pictures_two_views_are_left(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is there, and of its test pictures three are."""
    tiny = tiny_dataset(train=12)
    few = replace(tiny, test=tiny.test.subset([0, 1, 2]))
    monkeypatch.setattr(run_data, "load_dataset", lambda *_, **__: few)
    found = inspected(run)
    assert found.similarity is None
    assert found.notes == (
        "the networks' similarity is left out: of 3 test pictures it cannot be told; put more back",
    )
    assert found.changes


@pytest.mark.parametrize("count", [3, 0, -5])
def test_too_few_images_are_refused(trained: Path, count: int) -> None:
    with pytest.raises(UsageError, match="give at least 4"):
        inspected(trained, image_count=count)


@pytest.mark.parametrize("file", ["gradients.csv", "last-epoch.safetensors"])
def test_a_damaged_history_is_named(run: Path, file: str) -> None:
    path = run / "history" / "stage-02" / file
    path.write_bytes(path.read_bytes()[:30] + b"\n,,")
    with pytest.raises(RunError, match=f"{file} is damaged"):
        inspected(run)


def test_the_files_hold_the_numbers_and_the_plots(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    from edgecil.analysis.writing import write_analysis

    found = inspected(trained)
    write_analysis(found, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert written["changes"]["3"]["stem"] == {"mean_squared": 0, "relative": 0}
    assert list(written["gradient_norms"]["3"]) == ["3.1", "3.2"]
    assert written["similarity"]["images"] == 48
    with (tmp_path / "out" / "similarity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 3 * 3
    assert found.similarity is not None
    expected = found.similarity.by_depth["features"][0][2]
    last = next(
        r for r in rows if (r["depth"], r["stage"], r["other_stage"]) == ("features", "1", "3")
    )
    assert float(last["cka"]) == pytest.approx(expected, rel=1e-5)
    for plot in ("gradients", "changes", "similarity"):
        assert (tmp_path / "out" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "out" / f"{plot}.svg").read_text()


def test_a_change_relative_to_nothing_is_null_and_an_empty_cell(
    trained: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    from edgecil.analysis.writing import write_analysis

    found = inspected(trained)
    first, *others = found.changes
    assert (first.stage, first.layer) == (1, "stem")
    nothing = replace(first, mean_squared_change=0.0, relative_change=float("nan"))
    write_analysis(replace(found, changes=(nothing, *others)), tmp_path)
    written = json.loads((tmp_path / "analysis.json").read_text())
    assert written["changes"]["1"]["stem"] == {"mean_squared": 0.0, "relative": None}
    assert (tmp_path / "changes.csv").read_text().splitlines()[1] == "1,stem,0,"
    # Tasks of one epoch change nothing between their first and their last; there is no such plot.
    write_analysis(replace(found, changes=(nothing,)), tmp_path / "still")
    assert not (tmp_path / "still" / "changes.png").exists()
    assert (tmp_path / "still" / "gradients.png").exists()


def test_of_several_data_sets_the_one_that_is_gone_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third task came with `edgecil learn`, and its folder is gone."""
    settings = Run(run).settings()
    tasks = (*settings.tasks[:2], replace(settings.tasks[2], source=1))
    source = replace(settings.sources[0], data="photos")
    replace(settings, sources=(settings.sources[0], source), tasks=tasks).save(run / "config.json")

    def load_dataset(data: str, **options: object) -> ImageDataset:
        if data == "photos":
            raise UsageError("there is no folder photos")
        return tiny_dataset(train=12)

    monkeypatch.setattr(run_data, "load_dataset", load_dataset)
    found = inspected(run)
    assert found.similarity is not None
    assert found.similarity.images == 4 * 8
    assert found.notes == ("the networks' similarity is without these: there is no folder photos",)
