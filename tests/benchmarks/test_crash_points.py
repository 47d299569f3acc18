"""What counts as harm to what is taught, and that the ends of every verb do not."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgecil_devices.errors import EdgecilError
from edgecil_devices.teaching.overlay import Overlay
from tests.benchmarks.scripts import loaded
from tests.devices.conftest import tiny as tiny
from tests.devices.teaching.colours import save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def teaching() -> Iterator[Any]:
    with loaded("crash_teaching") as module:
        yield module


@pytest.fixture
def cases(teaching: Any, tiny: "TinyNetwork", tmp_path: Path) -> list[Any]:
    bundle = save_teachable(tiny, tmp_path / "tiny.edgecil")
    return list(teaching.cases(bundle, tmp_path / "made"))


def test_a_verb_that_did_nothing_is_the_old_and_one_that_ended_the_new(
    teaching: Any, cases: list[Any], tmp_path: Path
) -> None:
    assert len(cases) == 8
    for number, (_, arguments, before, check) in enumerate(cases):
        assert check(shutil.copytree(before, tmp_path / f"old-{number}")) == "old"
        assert check(teaching.after(before, arguments, tmp_path / f"new-{number}")) == "new"


def test_each_kind_of_harm_is_noticed(teaching: Any, cases: list[Any], tmp_path: Path) -> None:
    by_name = {case[0]: case for case in cases}

    def harmed(name: str, number: int) -> tuple[Path, Any]:
        _, arguments, before, check = by_name[name]
        return teaching.after(before, arguments, tmp_path / f"{name} {number}"), check

    def require_noticed(at: Path, check: Any, said: str) -> None:
        with pytest.raises(EdgecilError, match=said):
            check(at)

    at, check = harmed("teach", 1)
    next((Overlay(at / teaching.BUNDLE).folder / "pictures").iterdir()).unlink()
    require_noticed(at, check, "pictures|damaged")
    at, check = harmed("teach", 2)
    Overlay(at / teaching.BUNDLE).forget("mug")
    require_noticed(at, check, "neither old nor new")
    at, check = harmed("taught export", 1)
    (at / teaching.OUT).write_bytes(b"half")
    require_noticed(at, check, "neither old nor new")
    at, check = harmed("taught export", 2)
    (at / "out" / ".taught.zip.1").write_bytes(b"half")  # of a process that is alive
    require_noticed(at, check, "lies about after the next step")
