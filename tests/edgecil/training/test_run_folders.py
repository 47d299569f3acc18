"""Names of runs that nobody names, and folders in which none can be."""

from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from edgecil.cli import app
from edgecil.errors import RunError
from edgecil.networks.sources import WeightsSource
from edgecil.training import api, resolving
from edgecil.training.api import train
from edgecil.training.loop import EpochReport
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run, latest_run_folder, next_run_folder
from tests.edgecil.training.tiny import tiny_dataset


def test_runs_are_numbered_and_the_last_goes_on_though_others_were_deleted(tmp_path: Path) -> None:
    assert latest_run_folder(tmp_path) == next_run_folder(tmp_path) == tmp_path / "train"
    (tmp_path / "train").mkdir()
    assert latest_run_folder(tmp_path) == tmp_path / "train"
    assert next_run_folder(tmp_path) == tmp_path / "train-2"
    for name in ("train-2", "train-10", "train-x", "training", "train-010"):
        (tmp_path / name).mkdir()
    (tmp_path / "train").rmdir()
    assert latest_run_folder(tmp_path) == tmp_path / "train-10"
    assert next_run_folder(tmp_path) == tmp_path / "train-11"


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of a person's, where nothing may be read, downloaded or measured."""

    def work(*_: object, **__: object) -> NoReturn:
        raise AssertionError("this takes its time")

    for place, name in ((api, "load_requested"), (resolving, "load_requested"), (api, "pace_on")):
        monkeypatch.setattr(place, name, work)
    monkeypatch.setattr(WeightsSource, "file", work)
    (tmp_path / "thesis.tex").write_text("do not touch")
    return tmp_path


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("backbone", ["convnet2", "resnet18-imagenet"])
def test_a_folder_of_something_else_is_refused_before_any_work(
    taken: Path, backbone: str, resume: bool
) -> None:
    asked = TrainRequest(data="photos", budget="60MB", backbone=backbone, time="1h")
    with pytest.raises(RunError, match="is not empty; give another --run folder"):
        train(asked, taken, device="cpu", resume=resume)


@pytest.mark.parametrize("more", [(), ("--latency", "8ms")])
def test_a_run_that_is_there_is_refused_before_any_work(taken: Path, more: tuple[str, ...]) -> None:
    (taken / "config.json").write_text("{}")
    words = ("train", "--data", "photos", "--budget", "1MB", "--device", "cpu", "--run", str(taken))
    done = CliRunner().invoke(app, [*words, *more])
    assert isinstance(done.exception, RunError)
    assert str(done.exception).endswith("holds a run; add --resume, or give another --run folder")


def test_metrics_that_a_full_disk_left_empty_begin_with_their_header(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics_file.touch()
    for epoch in (1, 2):
        run.log_epoch(1, "train", EpochReport(epoch, 0.5, 100.0, {}))
    header, *lines = run.metrics_file.read_text().splitlines()
    assert header == "stage,phase,epoch,loss,images_per_second"
    assert lines == ["1,train,1,0.50000,100", "1,train,2,0.50000,100"]


def test_paths_may_be_text(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.toml"
    tasks.write_text('[[task]]\nclasses = ["tiny-0"]\n')
    request = TrainRequest(data="tiny", budget="400kB", tasks=str(tasks))  # type: ignore[arg-type]
    assert request.tasks == tasks
    request = TrainRequest(data="tiny", budget="400kB", backbone="convnet2", epochs=1)
    train(request, str(tmp_path / "run"), device="cpu", dataset=tiny_dataset())
    assert (tmp_path / "run" / "results.json").is_file()
