"""The first command for a new graphics card, rehearsed on the processor and on a pretended card."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scripts import FOLDER, loaded
from tests.edgecil.training.pretended_card import pretended_card

pytestmark = pytest.mark.slow

TINY = ("--pictures", "8", "--epochs", "1")
SCRIPT = FOLDER / "card_smoke.py"


@pytest.fixture
def card_smoke() -> Iterator[Any]:
    with loaded("card_smoke") as module:
        yield module


def cells(table: str) -> dict[str, list[str]]:
    """The rows of the table by name, without its head and the last cell, the seconds."""
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest[:-1] for name, *rest in rows}


def test_on_the_processor_every_row_is_equal_to_the_byte(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    options = ("--device", "cpu", "--only", "replay", "--out", str(table), *TINY)
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == table.read_text()
    found = cells(done.stdout)
    assert list(found) == ["replay", "replay, 72 px"]
    for processor, device, stopped, *rest in found.values():
        assert processor == device == stopped
        assert rest == ["1.000", "yes", "yes"]


def test_on_a_pretended_card_it_is_too_and_a_failure_is_shown_and_told(
    card_smoke: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--only", "memo", *TINY, "--device")
    with pretended_card(bf16=card_smoke.half_precision_pays(card_smoke.CPU)):
        assert card_smoke.main((*options, "cuda")) == 0
    printed = capsys.readouterr().out
    assert "a card that is not there" in printed
    assert cells(printed)["memo"][3:] == ["1.000", "yes", "yes"]

    monkeypatch.setattr(card_smoke, "similarities", lambda *_: dict[str, float]()["nothing"])
    assert card_smoke.main((*options, "cpu")) == 1
    assert "| memo | failed: KeyError |" in capsys.readouterr().out
