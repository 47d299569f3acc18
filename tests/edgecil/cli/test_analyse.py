"""`edgecil analyse` as a person calls it, after a run that was trained in two goes."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from edgecil.cli import main

pytest.importorskip("matplotlib", reason="the extra report is not installed")

CLASSES = ("green", "blue", "red", "grey")
"""Learned in two tasks."""


def write_pictures(folder: Path) -> None:
    """Ten noisy pictures of each colour."""
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(10):
            noise = draw.integers(0, 60, (16, 16, 3))
            pixels = (noise + ImageColor.getrgb(name)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def edgecil(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["edgecil", *words])
    main()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analyse")
    write_pictures(folder / "colours")
    words = ["train", "--data", str(folder / "colours"), "--increment", "2", "--budget", "900kB"]
    words += ["--backbone", "convnet2", "--image-size", "16", "--epochs", "2", "--device", "cpu"]
    words += ["--run", str(folder / "run"), "--resume"]
    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(SystemExit) as stopped:
            edgecil(patch, *words, "--keep-history", "--stop-after", "0.01s")
        assert stopped.value.code == 75
        with pytest.raises(SystemExit) as ended:
            edgecil(patch, *words)
        assert ended.value.code == 0
    return folder / "run"


def test_a_table_files_and_the_next_command(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        edgecil(monkeypatch, "analyse", str(run), "--images", "8", "--device", "cpu")
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert [line.split()[:3] for line in lines[2:4]] == [
        ["1", "trunk", "1920"],
        ["2", "block", "37056"],
    ]
    assert "after 2 tasks, 8 test images" in lines[4]
    assert lines[-1] == f"next: edgecil report {run} --out report.html"
    assert sorted(path.suffix for path in (run / "analysis").iterdir()) == sorted(
        [".csv", ".png", ".svg"] * 3 + [".json"]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "3"), "nothing is recorded of task 3; give --task one of: 1, 2"),
        (("--images", "2"), "too few for CKA; give at least 4"),
        (("--device", "abacus"), "auto, cpu, cuda, mps"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        edgecil(monkeypatch, "analyse", str(run), "--out", str(tmp_path / "out"), *words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        edgecil(monkeypatch, "analyse", str(tmp_path))
    assert ended.value.code == 1
    assert "is not a run" in capsys.readouterr().err
