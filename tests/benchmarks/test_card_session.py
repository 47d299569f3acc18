"""The quarter of an hour on a card, rehearsed: its parts run, and it goes on where it was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks.scripts import FOLDER

pytestmark = pytest.mark.slow


def session(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "card_session.py", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_rehearsal_runs_what_is_asked_for_and_trains_nothing_twice(tmp_path: Path) -> None:
    asked = ("--rehearse", "--only", "memo", "--out", tmp_path, "--work", tmp_path)
    done = session(*asked)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "card_session.md").read_text().splitlines()
    _, method, budget, accuracies, *_ = lines[-1].split("|")
    assert (method.strip(), budget.strip(), len(accuracies.split())) == ("memo", "0", 3)
    results = (tmp_path / "memo-0" / "results.json").read_bytes()
    done = session(*asked)
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stdout
    assert (tmp_path / "memo-0" / "results.json").read_bytes() == results


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_nothing_begins(tmp_path: Path) -> None:
    done = session("--out", tmp_path / "out", "--work", tmp_path / "work")
    assert done.returncode == 2
    assert "no graphics card that torch sees; --rehearse does without" in done.stderr
    assert not any(tmp_path.iterdir())
