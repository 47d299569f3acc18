"""What the scripts for a graphics card say of the machine and of the code."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scripts import loaded


@pytest.fixture
def card_machine() -> Iterator[Any]:
    with loaded("card_machine") as module:
        yield module


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(("git", *who, *words), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_revision_is_that_of_the_commit_and_says_where_files_differ(
    card_machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_machine, "HERE", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")
    git(tmp_path, "tag", "v1")
    assert card_machine.revision() == commit
    (tmp_path / "file").write_text("2")
    assert card_machine.revision() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert card_machine.revision() == "unknown"


def test_mps_runs_where_its_pipe_is(
    card_machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not card_machine.shared_by_mps()
    (tmp_path / "control").touch()
    assert card_machine.shared_by_mps()
