"""Methods that another package brings, as if it were installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from edgecil.training.run import Run
from tests.edgecil.training.tiny import two_tasks

METHOD = """
from edgecil.methods.replay import Replay


class Sparing(Replay):
    '''Replay under another name.'''

    name = "sparing"
"""


def test_a_method_of_another_package_is_compared_with_the_others(tmp_path: Path) -> None:
    packages, out = tmp_path / "packages", tmp_path / "out"
    (packages / "sparing-1.0.dist-info").mkdir(parents=True)
    (packages / "sparing.py").write_text(METHOD)
    (packages / "sparing-1.0.dist-info" / "METADATA").write_text("Name: sparing\nVersion: 1.0\n")
    (packages / "sparing-1.0.dist-info" / "entry_points.txt").write_text(
        "[edgecil.methods]\nsparing = sparing:Sparing\nmemo = sparing:Sparing\n"
    )
    paths = (str(packages), os.environ.get("PYTHONPATH", ""))
    command = ["compare", *two_tasks(tmp_path), "--methods", "sparing,replay,memo"]
    command += ["--budgets", "300kB", "--seeds", "1", "--epochs", "1", "--backbone", "convnet2"]
    done = subprocess.run(
        [sys.executable, "-m", "edgecil", *command, "--device", "cpu", "--out", out],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sparing, replay, memo = (out / f"{name}-300000-1" for name in ("sparing", "replay", "memo"))
    assert Run(sparing).settings().method == "sparing"
    assert accuracies(sparing) == accuracies(replay)
    # Own names stay edgecil's own: memo has a block a task.
    assert (memo / "state" / "block-01.safetensors").exists()


def accuracies(run: Path) -> list[float]:
    return [stage["accuracy"] for stage in json.loads((run / "results.json").read_text())["stages"]]
