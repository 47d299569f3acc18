"""What is said of a run before it begins, and where none may begin."""

from pathlib import Path
from typing import Any

import pytest

import edgecil
from edgecil.errors import UsageError
from edgecil.networks.sources import Origin
from edgecil.planning.data_facts import facts_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from tests.edgecil.training.tiny import tiny_dataset


def told(classes: int, increment: int, origin: Origin | None = None, **more: Any) -> str:
    request = TrainRequest(data="tiny", budget="1MB", increment=increment, **more)
    facts = facts_of(tiny_dataset(classes=classes), request.possible_codecs)
    return resolve(request, facts, origin=origin)[2]


def test_one_class_alone_is_told_to_be_of_no_use() -> None:
    assert "one class alone is told from nothing" in told(1, 1)
    assert "one class alone" not in told(2, 1)


@pytest.mark.parametrize("frozen", [{"method": "slda"}, {"trunk": "freeze"}], ids=str)
def test_a_first_class_alone_is_told_to_teach_nothing_where_all_is_frozen_after_it(
    frozen: dict[str, Any],
) -> None:
    warning = "what is frozen after the first task stays random"
    assert warning in told(3, 1, **frozen)
    assert warning not in told(3, 1, **frozen, base=2)
    assert warning not in told(1, 1, **frozen)
    assert warning not in told(3, 1, Origin("a file", "unknown", "unknown", "beef"), **frozen)


def test_what_a_method_gives_up_in_later_tasks_is_told_where_there_are_any() -> None:
    assert "memo keeps old blocks as they are" in told(4, 2)
    assert "memo keeps" not in told(4, 4)


@pytest.mark.parametrize("run", ["runs/one", "cats/run"])
def test_no_run_lies_among_the_pictures_it_learns(run: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "cats").mkdir(parents=True)
    with pytest.raises(UsageError, match="is within .*photos, where every folder is a class"):
        edgecil.train(TrainRequest(data=str(photos), budget="1MB"), photos / run)
    assert [one.name for one in photos.iterdir()] == ["cats"]
