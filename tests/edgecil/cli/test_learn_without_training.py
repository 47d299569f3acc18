"""A task that takes no training: `edgecil learn` of a run that keeps statistics, not pictures."""

import shutil

import pytest

from edgecil.memory.state import State
from tests.edgecil.cli.desk import Desk


@pytest.fixture
def without_pictures(desk: Desk) -> Desk:
    """A desk with `run`, which has learned four classes by slda, and `new` with two more."""
    desk.photos("old", "ant", "bee", "cat", "dog")
    desk.photos("new", "eel", "fox")
    desk.train("--method", "slda")
    return desk


def test_classes_are_added_without_pictures_of_the_old_ones(without_pictures: Desk) -> None:
    desk = without_pictures
    before = desk.state()
    shutil.rmtree(desk.folder / "old")
    desk.learn("--data", "new")
    stages = desk.strictly("results.json")["stages"]
    assert [stage["classes"] for stage in stages] == [2, 4, 6]
    assert [len(task["classes"]) for task in desk.strictly("config.json")["tasks"]] == [2, 2, 2]
    after = desk.state()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        "state.json",
        "head.safetensors",
        "exemplars.safetensors",
        "statistics.safetensors",
    }
    assert not (desk.folder / "run/checkpoint").exists()
    out, _ = desk.run("info", "run")
    assert "statistics" in out


def test_a_kill_just_before_the_state_is_written_leaves_a_run_that_learns_the_classes_again(
    without_pictures: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = without_pictures
    before = desk.strictly("config.json")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "write", killed)
        desk.learn("--data", "new", code=130)
    assert len(desk.strictly("config.json")["tasks"]) == 3
    _, told = desk.learn("--discard")
    assert "given up: eel, fox" in told
    assert desk.strictly("config.json") == before
    with monkeypatch.context() as patch:
        patch.setattr(State, "write", killed)
        desk.learn("--data", "new", code=130)
    desk.learn("--data", "new")
    assert [s["classes"] for s in desk.strictly("results.json")["stages"]] == [2, 4, 6]
    assert len(desk.strictly("config.json")["tasks"]) == 3
