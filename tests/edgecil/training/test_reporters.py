"""Reporters: a person's own takes ten lines, and several hear the same."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import edgecil
from edgecil.cli.progress import TerminalReporter
from edgecil.evaluation.results import StageResult
from edgecil.methods.lesson import Phase
from edgecil.training import reporters
from edgecil.training.forecast import TimeLeft
from edgecil.training.loop import EpochReport
from edgecil.training.reporters import Reporter, Together
from edgecil.training.request import TrainRequest
from edgecil.training.stopping import Stopped
from tests.edgecil.training.tiny import picture_folder, tiny_dataset


def test_the_example_of_a_logger_runs_as_it_stands_and_takes_ten_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    picture_folder(tiny_dataset(classes=2, train=8, test=4), tmp_path / "photos")
    quick: dict[str, Any] = {"backbone": "convnet2", "epochs": 3}
    monkeypatch.setattr(
        edgecil, "TrainRequest", lambda **asked: TrainRequest(**asked, **quick), raising=False
    )
    example = dedent("\n".join(re.findall(r"^    .*$|^$", reporters.__doc__ or "", re.M)))
    logger = example[example.index("class") : example.index("request =")].strip()
    assert len(logger.splitlines()) <= 10
    exec(example)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said if line.startswith("train")] == [
        ["train", "1"],
        ["train", "2"],
        ["train", "3"],
    ]
    # Before the first task by a rehearsal, and after every epoch.
    assert sum(line.endswith("s to go") for line in said) == 4


class Diary(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def task_started(self, task: object, stage_count: int, image_count: int) -> None:
        self.said.append(f"task of {image_count}")

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        self.said.append(f"epoch {report.epoch}")

    def time_left(self, left: TimeLeft) -> None:
        assert 0 <= left.task_seconds <= left.run_seconds
        self.said.append("time")

    def stage_finished(self, result: StageResult, ledger: object) -> None:
        self.said.append(f"stage {result.stage}")


def learned(folder: Path, reporter: Reporter, **options: Any) -> None:
    asked = TrainRequest(
        data="tiny", budget="260kB", increment=3, backbone="convnet2", epochs=2, batch_size=16
    )
    edgecil.train(asked, folder, device="cpu", reporter=reporter, dataset=tiny_dataset(), **options)


def test_several_reporters_hear_of_everything_in_its_order(tmp_path: Path) -> None:
    one, other = Diary(), Diary()
    learned(tmp_path / "run", Together(one, other))
    first, second = (one.said[n] for n in (1, 7))
    assert first == "task of 72"
    epochs = ["epoch 1", "time", "epoch 2", "time"]
    assert one.said == ["time", first, *epochs, "stage 1", second, *epochs, "stage 2"]
    assert other.said == one.said


class StopsAfterOneEpoch(Diary):
    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        raise Stopped("enough", 75)


def test_a_resumed_run_knows_its_speed_without_a_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        learned(tmp_path / "run", StopsAfterOneEpoch())
    monkeypatch.setattr("edgecil.training.learner.rehearsed_speed", None)
    diary = Diary()
    learned(tmp_path / "run", diary, resume=True)
    assert diary.said[:4] == ["time", "task of 72", "epoch 2", "time"]


def test_a_run_of_more_than_an_hour_is_announced_once_with_the_command_that_divides_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = TerminalReporter("edgecil train --data photos --resume --stop-after 1h")
    reporter.time_left(TimeLeft(60, 3599))
    assert capsys.readouterr().err == ""
    reporter.time_left(TimeLeft(60, 5 * 3600))
    said = capsys.readouterr().err
    assert "this takes about 5 h on this machine" in said
    assert "\n  edgecil train --data photos --resume --stop-after 1h\n" in said
    reporter.time_left(TimeLeft(60, 4 * 3600))
    assert capsys.readouterr().err == ""
