"""The settings of a run as a file: what another edgecil wrote, and what nobody did."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgecil.errors import RunError
from edgecil.planning.data_facts import facts_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.settings import RunSettings
from tests.edgecil.training.tiny import tiny_dataset


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What `RunSettings.save` wrote."""
    asked = TrainRequest(
        data="tiny", budget="1MB", backbone="convnet2", codec="raw", precision="int8"
    )
    resolve(asked, facts_of(tiny_dataset(), ["raw"]))[0].save(tmp_path / "config.json")
    return tmp_path / "config.json"


@pytest.mark.parametrize("within", ["run", "source"])
def test_what_a_newer_edgecil_wrote_is_told_as_that(file: Path, within: str) -> None:
    content: dict[str, Any] = json.loads(file.read_text())
    (content if within == "run" else content["sources"][0])["warp"] = 9
    file.write_text(json.dumps(content))
    with pytest.raises(RunError) as refused:
        RunSettings.load(file)
    assert str(refused.value) == (
        f"{file}: made by a newer edgecil (warp unknown here); install a newer edgecil"
    )


@pytest.mark.parametrize("damage", [{"mean": 1}, {"sources": [3]}, {"sources": ["data"]}], ids=str)
def test_a_damaged_file_is_told_as_that(file: Path, damage: dict[str, Any]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    with pytest.raises(RunError, match="config.json cannot be read .*; restore it from a copy"):
        RunSettings.load(file)
