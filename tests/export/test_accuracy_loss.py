"""What is measured on, what comes out, and when it is too much."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgecil.errors import ExportError, UsageError
from edgecil.memory.exemplars import ExemplarSet
from edgecil.training.settings import PlannedTask, RunSettings, Source
from edgecil_devices.manifest import Accuracy
from edgecil_export import ExportRequest
from edgecil_export import accuracy_loss as module
from edgecil_export.accuracy_loss import (
    EXEMPLARS,
    TEST_PICTURES,
    AccuracyLoss,
    Sample,
    accuracy_loss,
    require_small,
    sample_for,
)
from edgecil_export.opened_run import OpenedRun

Pixels = NDArray[np.uint8]
CLASSES = ("ape", "bee", "cat", "dog", "eel")


def settings_with(data: str) -> RunSettings:
    return RunSettings(
        sources=(Source(data, 0.5, ""),),
        image_size_px=16,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.25),
        mirrors=True,
        tasks=(PlannedTask(CLASSES[:3], 0), PlannedTask(CLASSES[3:], 0)),
        seed=1,
        method="memo",
        backbone="resnet14",
        cut="last",
        trunk="auto",
        budget_bytes=10**6,
        accounting="strict",
        tasks_ahead=0,
        codec="raw",
        precision="fp32",
        recipe="fast",
    )


def folder_with(path: Path, classes: tuple[str, ...]) -> Path:
    for shade, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (16, 16), (shade * 40, k * 20, 7)).save(path / name / f"{k}.png")
    return path


def sample_of_run(run: Path, data: str) -> Sample:
    settings_with(data).save(run / "config.json")
    calibrated_on = np.arange(0, 20, 2)
    return sample_for(OpenedRun.read(run), calibrated_on, run / "no-data")


def test_the_runs_test_pictures_are_measured_on(run: Path, tmp_path: Path) -> None:
    sample = sample_of_run(run, str(folder_with(tmp_path / "data", CLASSES)))
    assert sample.name == TEST_PICTURES
    assert np.bincount(sample.labels).tolist() == [2] * 5  # half of four is held out
    shades = sample.pictures.pixels(sample.indices)[:, 0, 0, 0]
    assert shades.tolist() == [40 * label for label in sample.labels]


@pytest.mark.parametrize("data", ["cifar100", "gone", "some"])
def test_without_them_the_other_exemplars_are(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_with(tmp_path / "some", CLASSES[:4])
    sample = sample_of_run(run, data)
    assert sample.name == EXEMPLARS
    assert sample.indices.tolist() == list(range(1, 20, 2))
    assert np.bincount(sample.labels).tolist() == [2] * 5
    assert not (run / "no-data").exists()  # nothing is downloaded


def test_a_run_without_settings_has_exemplars(run: Path) -> None:
    sample = sample_for(OpenedRun.read(run), np.arange(10), None)
    assert (sample.name, len(sample.indices)) == (EXEMPLARS, 10)


def test_where_there_is_nothing_to_measure_on_it_says_so(run: Path, exemplars: ExemplarSet) -> None:
    opened = OpenedRun.read(run)
    few = replace(opened, state=replace(opened.state, exemplars=exemplars.truncate([1] * 5)))
    with pytest.raises(ExportError, match=r"put .* back \(or give --data-dir\), or .* fp32"):
        sample_for(few, np.arange(5), None)


@pytest.mark.parametrize(
    ("most_images", "indices"),
    [
        pytest.param(5, [0, 2, 4, 7, 9], id="evenly"),  # of ten, of which 4.5 is the middle
        pytest.param(4, [0, 3, 4, 6, 9], id="stepped over"),  # 4 is the third class's first
    ],
)
def test_large_test_sets_are_thinned_evenly_but_for_a_class_that_would_have_none(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most_images: int,
    indices: list[int],
) -> None:
    settings_with(str(folder_with(tmp_path / "data", CLASSES))).save(run / "config.json")
    monkeypatch.setattr(module, "MOST_IMAGES", most_images)
    sample = sample_for(OpenedRun.read(run), np.arange(10), None)
    assert sample.name == TEST_PICTURES
    assert sample.indices.tolist() == indices
    assert sample.labels.tolist() == [0, 1, 2, 3, 4]


def test_pictures_that_learn_left_out_as_repeats_stay_out(run: Path, tmp_path: Path) -> None:
    old, new = (folder_with(tmp_path / name, CLASSES) for name in ("old", "new"))
    for name in CLASSES[:3]:
        shutil.rmtree(new / name)
    for path in (old / CLASSES[0]).iterdir():
        shutil.copy(path, new / "dog" / f"again-{path.name}")
    for name in CLASSES[3:]:
        shutil.rmtree(old / name)
    settings = settings_with(str(old))
    sources = (*settings.sources, Source(str(new), 0.5, ""))
    tasks = (settings.tasks[0], PlannedTask(CLASSES[3:], 1))
    replace(settings, sources=sources, tasks=tasks).save(run / "config.json")
    data = OpenedRun.read(run).data(None)
    assert sum(data.counts(2)) == 2 * 4  # and not the four that came again
    test = data.test(2)
    shades = test.pictures.pixels(np.arange(len(test.labels)))[:, 0, 0, 0]
    assert shades.tolist() == [40 * label for label in test.labels]


def answers(*classes: int) -> Callable[[Pixels], NDArray[np.float32]]:
    """Logits that say these classes, image by image, as the pixels number them."""
    table = np.eye(5, dtype=np.float32)[list(classes)]
    return lambda pixels: table[pixels[:, 0, 0, 0]]


class Numbered:
    """Pictures whose pixels are their numbers."""

    aspects = None

    def __len__(self) -> int:
        return 6

    def pixels(self, indices: NDArray[np.int64] | None = None) -> Pixels:
        assert indices is not None
        return np.broadcast_to(
            indices.astype(np.uint8)[:, None, None, None], (len(indices), 2, 2, 3)
        )


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_both_are_counted_on_the_same_pictures(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(module, "_BATCH", batch)
    sample = Sample(Numbered(), np.arange(6), np.array([0, 0, 1, 2, 3, 4]), TEST_PICTURES)
    network, bundle = answers(0, 0, 1, 2, 3, 0), answers(0, 1, 1, 2, 0, 0)
    loss = accuracy_loss(sample, network, bundle, (range(3), range(3, 5)))
    assert loss.network == pytest.approx(100 * 5 / 6)
    assert loss.bundle == Accuracy(50.0, (75.0, 0.0))
    assert loss.points == pytest.approx(100 / 3)
    assert loss.apart == 2
    assert loss.line() == "int8 compute: 50.00 % right of 6 test pictures; fp32: 83.33 %"


def test_a_loss_above_the_bound_is_refused_unless_forced_and_then_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loss = AccuracyLoss(TEST_PICTURES, 1000, 50.0, Accuracy(48.9, ()), apart=15)
    with pytest.raises(ExportError, match=r"48\.90 % .* 50\.00 %, a loss of more than 1 points"):
        require_small(loss, ExportRequest(compute="int8"))
    require_small(loss, ExportRequest(compute="int8", max_loss_points=1.2))
    require_small(replace(loss, network=40.0), ExportRequest(compute="int8", max_loss_points=0))
    assert caplog.messages == []
    require_small(loss, ExportRequest(compute="int8", force=True))
    assert caplog.messages == [
        "int8 compute: 48.90 % right of 1000 test pictures; fp32: 50.00 %, a loss of more than "
        "1 points; --force has it written"
    ]


@pytest.mark.parametrize(
    ("lost", "gained", "refused"),
    [(2, 0, False), (4, 0, False), (5, 0, True), (10, 3, False), (12, 3, True), (80, 0, True)],
)
def test_a_loss_that_may_be_chance_is_taken(lost: int, gained: int, refused: bool) -> None:
    """Of coins, one for each picture that only one of both has right: twice their deviation."""
    coins = np.random.default_rng(0).integers(0, 2, (100_000, lost + gained)).sum(axis=1)
    as_much = (2 * coins - (lost + gained) >= lost - gained).mean()
    assert (as_much < 0.04) == refused
    percent = 95 - 100 * (lost - gained) / 160
    loss = AccuracyLoss(TEST_PICTURES, 160, 95.0, Accuracy(percent, ()), lost + gained)
    assert loss.may_be_chance != refused
    with pytest.raises(ExportError) if refused else nullcontext():
        require_small(loss, ExportRequest(compute="int8", max_loss_points=0.5))


@pytest.mark.parametrize("points", [-1.0, 101.0, float("nan")])
def test_a_bound_that_is_no_number_of_points_is_refused(points: float) -> None:
    with pytest.raises(UsageError, match="--max-loss is a number of points"):
        ExportRequest(compute="int8", max_loss_points=points)


def test_an_unknown_way_to_compute_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="unknown compute 'int4'; choose one of: fp32, int8"):
        ExportRequest(compute="int4")


def test_the_settings_above_are_those_of_a_run(run: Path) -> None:
    settings_with("cifar100").save(run / "config.json")
    assert json.loads((run / "config.json").read_text())["sources"][0]["data"] == "cifar100"
    assert RunSettings.load(run / "config.json") == settings_with("cifar100")
