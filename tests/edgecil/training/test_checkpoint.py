"""What lies in a run's checkpoint folder between the last epoch of a task and its measurement."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecil.errors import StateCorruptError, TrainingError
from edgecil.evaluation.results import MergeResult
from edgecil.training.checkpoint import Checkpoint, Checkpoints, Learned
from edgecil.training.stopping import Stopped, stopping_on_signals

LEARNED = Learned(4, 12.5, MergeResult(((0, 2),), (90.0, None, 70.5), (80.0, None, 71.0)))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Of a run whose task 4 has just been learned."""
    found = Checkpoints(tmp_path / "checkpoint")
    found.note(LEARNED)
    return found


def test_what_a_task_came_to_is_read_as_it_was_written_and_of_no_other_task(
    checkpoints: Checkpoints,
) -> None:
    assert checkpoints.noted(4) == LEARNED
    assert checkpoints.noted(5) == Learned(5, 0.0, None)


def test_a_damaged_note_is_told_with_what_deleting_it_costs(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint" / "learned.json").write_text('{"stage": 4')
    with pytest.raises(StateCorruptError, match="learned.json is damaged; delete it, and the task"):
        checkpoints.noted(4)


def test_measuring_a_task_again_leaves_the_checkpoint_of_the_next(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.save(Checkpoint(5, 0, 1, 2.0, {}, {}, {}))
    checkpoints.delete_of(4)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["last.pt"]
    checkpoints.delete_of(5)
    assert not (tmp_path / "checkpoint").exists()


def test_only_a_damaged_checkpoint_is_told_to_be_deleted(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.save(Checkpoint(5, 0, 1, 2.0, {}, {}, {}))
    file = tmp_path / "checkpoint" / "last.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StateCorruptError, match="last.pt is damaged; delete it"):
        checkpoints.load(5)
    file.unlink()
    file.mkdir()  # as a disk that fails, or a file of somebody else
    with pytest.raises(OSError, match="Is a directory") as failed:
        checkpoints.load(5)
    assert failed.value.filename == str(file)


def full(*_: object, **__: object) -> None:
    raise MemoryError


def interrupted(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("while_read", "error", "told"),
    [(full, TrainingError, "memory is full"), (interrupted, Stopped, "stopped by SIGINT")],
)
def test_what_comes_while_a_checkpoint_is_read_is_no_damage_of_it(
    checkpoints: Checkpoints,
    monkeypatch: pytest.MonkeyPatch,
    while_read: Callable[..., Any],
    error: type[Exception],
    told: str,
) -> None:
    checkpoints.save(Checkpoint(5, 0, 1, 2.0, {}, {}, {}))
    monkeypatch.setattr(torch, "load", while_read)
    with pytest.raises(error, match=told), stopping_on_signals():
        checkpoints.load(5)
