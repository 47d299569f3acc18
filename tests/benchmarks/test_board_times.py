"""What measures boards makes its bundles, and measures them where nothing else of ours is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.scripts import FOLDER

pytestmark = pytest.mark.slow


def test_bundles_are_made_here_and_measured_by_the_copy_beside_them(tmp_path: Path) -> None:
    made = tmp_path / "board-times"
    script = [sys.executable, str(FOLDER / "board_times.py")]
    subprocess.run([*script, "make", made, "--only", "resnet32-1"], check=True)
    bundles = {f"resnet32-1-{compute}.edgecil" for compute in ("fp32", "int8")}
    assert {path.name for path in made.iterdir()} == {"board_times.py", *bundles}

    words = [sys.executable, str(made / "board_times.py"), "measure", "--rounds", "1"]
    done = subprocess.run(
        [*words, "--seconds", "0.1"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    machine, _, _, _, *lines = done.stdout.splitlines()
    assert "onnxruntime" in machine
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")
    ]
    assert {(row[0], row[2]) for row in rows} == {
        *(("resnet32-1-fp32", compute) for compute in ("fp32", "fp16", "auto")),
        ("resnet32-1-int8", "int8"),
    }
    assert all(0 < float(row[5]) < 10_000 for row in rows)
    assert {row[3] for row in rows if row[2] in ("fp32", "int8")} == {"fp32", "int8"}
