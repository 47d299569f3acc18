"""The benchmark of training speed runs at a tiny size and writes what it says."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.scripts import FOLDER, loaded

SCRIPT = FOLDER / "training_speed.py"
TINY = ("--images", "256", "--repeats", "1", "--backbone", "convnet2", "--threads", "1")


def speed_of(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *TINY, "--workers", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_both_loops_are_measured_whole_and_in_parts(tmp_path: Path) -> None:
    done = speed_of("--data", tmp_path, "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "training_speed.json").read_text())
    assert results["pictures"] == "random pixels"
    assert (results["images"], results["repeats"], results["hardware"]["threads"]) == (256, 1, 1)
    table = (tmp_path / "results" / "training_speed.md").read_text()
    assert done.stdout in table
    for part in ("whole", "data", "step"):
        speeds = results["images_per_second"][part]
        assert set(speeds) == {"edgecil", "plain"}
        for passes in speeds.values():
            assert len(passes) == 1
            assert f"{median(passes):,.0f} (" in table


def test_part_of_a_batch_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["training_speed.py", "--images", "200", "--out", str(tmp_path)]
    with loaded("training_speed") as script, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit, match="2"):
            script.main()
    assert "--images is a multiple of 128" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
