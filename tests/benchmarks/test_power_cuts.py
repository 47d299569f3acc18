"""The teaching of the power cuts: its plan is what the device's own code comes to, cut or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.errors import EdgecilError
from edgecil_devices.teaching.overlay import Overlay
from tests.benchmarks.scripts import loaded

STEPS = 45


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with loaded("power_cuts_teaching") as module:
        monkeypatch.setattr(module, "BESIDE", tmp_path / "taught.edgecil")
        yield module


def test_every_step_is_found_to_be_the_last_after_it_and_to_be_one_ahead_before(
    writer: Any,
) -> None:
    kinds = set()
    for number in range(1, STEPS + 1):
        writer.step(number)
        kinds.add(writer.planned(number).kind)
        assert writer.look(number) == (number, "")
        assert writer.look(number - 1) == (number, "")
        with pytest.raises(EdgecilError, match="not as after step"):
            writer.look(number + 1)  # which was reported, and is lost
    assert kinds == {"teach", "forget", "undo"}
    records = Overlay(writer.BESIDE).records()
    assert records.undoable_from > 1  # what was forgotten has made room
    assert len(records.labels) >= writer.FEWEST_LABELS - 1


def test_a_lost_picture_another_one_and_what_lies_about_are_noticed(writer: Any) -> None:
    writer.step(1)
    folder = Overlay(writer.BESIDE).folder
    (folder / ".taught.json.4711").write_bytes(b"half")
    assert writer.look(1) == (1, "1 files to clear away")
    picture = next((folder / "pictures").iterdir())
    picture.write_bytes(b"")
    with pytest.raises(EdgecilError, match="is damaged"):
        writer.look(1)


def test_a_list_that_was_lost_is_noticed(writer: Any) -> None:
    assert writer.look(0) == (0, "")
    writer.step(1)
    Overlay(writer.BESIDE).records_file.unlink()
    with pytest.raises(EdgecilError, match="nothing is taught"):
        writer.look(1)
