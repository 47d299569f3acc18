"""Every mistake is one line that names the remedy, with exit code 1 or 2 and nothing written."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.cli import main
from edgecil.training.loop import EpochReport
from edgecil.training.run import Run
from edgecil_devices.files import replace_atomically

Complaint = Callable[..., str]


@pytest.fixture
def complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Complaint:
    """The one line that a command ends with, told in `tmp_path`."""

    def told(*arguments: str, code: int) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["edgecil", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return told


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--data", "cifar1000"), "cifar100, glyphs"),
        (("--method", "lwf"), "choose one of: finetune"),
        (("--backbone", "vgg"), "convnet2"),
        (("--codec", "gif"), "webp-lossless"),
        (("--budget", "7.6Mb"), "kB, MB, GB, KiB, MiB, GiB"),
        (("--budget", "0"), "at least one byte"),
        (("--state-precision", "fp8"), "fp32, fp16, int8"),
        (("--recipe", "slow"), "fast, thorough"),
        (("--trunk", "melt"), "auto, train, freeze"),
        (("--cut", "first"), "last or last-two"),
        (("--accounting", "creative"), "strict, published"),
        (("--device", "abacus"), "auto, cpu, cuda, mps"),
        (("--stop-after", "9"), "9m"),
        (("--epochs", "0"), "at least 1"),
        (("--increment", "0"), "increment"),
        (("--image-size", "0"), "image size is 0 pixels; give 1 or more"),
        (("--bench", "device.json"), "give --latency, too"),
        (("--seed", "-1"), "seed is -1; give 0 to 4294967295"),
        (("--seed", "4294967296"), "seed is 4294967296; give 0 to 4294967295"),
        (("--learning-rate", "0"), "learning rate is 0.0; give a number above 0"),
        (("--learning-rate", "inf"), "learning rate is inf; give a number above 0"),
        (("--learning-rate", "nan"), "learning rate is nan; give a number above 0"),
        (("--holdout", "nan"), "a holdout of nan is not possible"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    complaint: Complaint, tmp_path: Path, changed: tuple[str, str], said: str
) -> None:
    asked = {"--data": "glyphs", "--budget": "5MB"} | dict([changed])
    words = [word for pair in asked.items() for word in pair]
    assert said in complaint("train", *words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_leaves_what_is_there_alone(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("mine")
    said = complaint("demo", "--out", "demo", code=2)
    assert said == "error: demo is there already; give --out a new folder, or delete it"
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine.txt"]


def test_a_demo_with_an_impossible_budget_leaves_no_folder_in_the_way(
    complaint: Complaint, tmp_path: Path
) -> None:
    said = complaint("demo", "--out", "demo", "--budget", "2MBB", code=2)
    assert "2MBB" in said
    assert not (tmp_path / "demo").exists()


def test_a_class_in_two_tasks_is_refused(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "tasks.toml").write_text(
        '[[task]]\nclasses = ["upper-A"]\n[[task]]\nclasses = ["upper-B", "upper-A"]\n'
    )
    words = ("--data", "glyphs", "--budget", "5MB", "--tasks", "tasks.toml")
    assert "upper-A" in complaint("train", *words, code=1)
    assert not (tmp_path / "runs").exists()


def test_an_empty_class_folder_is_named(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "dog").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photos" / "dog" / "1.png")
    words = ("--data", "photos", "--budget", "5MB")
    assert "cat" in complaint("train", *words, code=1)
    assert not (tmp_path / "runs").exists()


def test_a_bundle_given_as_data_is_refused(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "cats.edgecil").write_bytes(b"\x89EDGECIL")
    words = ("--data", "cats.edgecil", "--budget", "5MB")
    complaint("train", *words, code=2)


def test_learning_into_what_is_no_run_is_refused(complaint: Complaint) -> None:
    assert "not a run" in complaint("learn", ".", "--data", "glyphs", code=1)


def test_without_torch_training_says_what_to_install() -> None:
    blocked = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['edgecil', 'train', "
        "'--data', 'glyphs', '--budget', '5MB']; from edgecil.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "pip install 'edgecil[train]'" in line


@pytest.mark.parametrize(
    ("words", "going_on"),
    [
        (("train", "--data", "photos"), "the same command with --resume goes on"),
        (("learn", "run", "--data", "export"), "the same command goes on"),
        (("--debug-not", "compare"), "give the same command again, what is finished is kept"),
        (("export", "run"), "give the same command again"),
        (("install", "a.edgecil"), "give the same command again"),
        (("analyse", "run"), "give the same command again"),
        (("report", "run"), "give the same command again; runs and any older page are as they"),
    ],
)
@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "Disk quota exce")]
)
def test_a_full_disk_names_the_file_and_what_that_verb_can_do(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    going_on: str,
    number: int,
    reason: str,
) -> None:
    def full() -> None:
        raise OSError(number, os.strerror(number), "run/x.bin")

    monkeypatch.setattr("edgecil.cli.app", full)
    monkeypatch.setattr(sys, "argv", ["edgecil", *words])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert told.startswith(f"error: run/x.bin: {reason}")
    assert f"; make room, and {going_on}" in told
    assert ("--resume" in told) == (words[0] == "train")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_line_of_metrics_that_finds_no_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as failed:
        Run(tmp_path).log_epoch(1, "train", EpochReport(1, 0.5, 100.0, {}))
    assert failed.value.filename == str(tmp_path / "metrics.csv")


def test_a_file_that_cannot_be_replaced_is_named_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        replace_atomically(tmp_path / "last.pt", b"weights")
    assert failed.value.filename == str(tmp_path / "last.pt")
    assert list(tmp_path.iterdir()) == []
