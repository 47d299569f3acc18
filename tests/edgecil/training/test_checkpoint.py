"""What lies in a run's checkpoint folder between the last epoch of a task and its measurement."""

from pathlib import Path

import pytest

from edgecil.errors import StateCorruptError
from edgecil.evaluation.results import MergeResult
from edgecil.training.checkpoint import Checkpoint, Checkpoints, Learned

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
