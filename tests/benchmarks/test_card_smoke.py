"""The first command for a new graphics card, rehearsed on the processor and on a pretended card."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecil.training import loop
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
    assert list(found) == ["replay", "replay, batches of 64 and a short one", "replay, 72 px"]
    for processor, device, stopped, *rest in found.values():
        assert processor == device == stopped
        assert rest == ["1.000", "yes", "yes", "yes"]


def test_what_an_earlier_call_left_is_not_learned_again_but_for_failures(
    card_smoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []

    def smoked(row: Any, *_: object, check: bool) -> str:
        learned.append(row.name)
        same = "yes" if learned.count(row.name) > 1 or "short" in row.name else card_smoke.FAILED
        return f"| {row.name} | {same} |"

    monkeypatch.setattr(card_smoke, "smoked", smoked)
    options = ("--device", "cpu", "--only", "replay", "--out", str(tmp_path / "table.md"))
    assert card_smoke.main(options) == 1
    first = [row.name for row in card_smoke.ROWS if row.method == "replay"]
    assert learned == first
    assert card_smoke.main(options) == 0
    assert learned == [*first, *(name for name in first if "short" not in name)]
    table = (tmp_path / "table.md").read_text()
    assert list(cells(table)) == first
    assert card_smoke.main((*options, "--epochs", "1")) == 0  # which are other trainings
    assert len(learned) == len(first) * 3 - 1


def test_the_check_learns_few_rows_on_the_device_alone(
    card_smoke: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card_smoke.main(("--check", "--device", "cpu", "--only", "memo", *TINY)) == 0
    found = cells(capsys.readouterr().out)
    assert [*found] == ["memo, three blocks", "memo, merged", "memo, maps of a frozen trunk"]
    for processor, device, *others in found.values():
        assert (processor, others) == ("", ["", "", "", "yes", ""])
        assert 0 <= float(device) <= 100


def test_blocks_that_are_merged_by_replayed_steps_pass_the_check(
    card_smoke: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = [row for row in card_smoke.ROWS if row.name == "memo, merged"]
    monkeypatch.setattr(card_smoke, "ROWS", merged)
    options = ("--check", "--device", "cuda", "--pictures", "8", "--epochs", "4")
    with pretended_card() as card:
        assert card_smoke.main(options) == 0
        assert card.replays
    assert cells(capsys.readouterr().out)["memo, merged"][5:] == ["yes", ""]


def test_the_check_notices_a_replay_that_is_not_what_steps_one_by_one_are(
    card_smoke: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--check", "--device", "cuda", "--only", "finetune", "--pictures", "8")
    with pretended_card() as card:
        assert card_smoke.main(options) == 0
        assert card.replays
    assert cells(capsys.readouterr().out)["finetune, convnet2"][5:] == ["yes", ""]
    # A number that Python has, which a replay does not see change.
    monkeypatch.setattr(loop, "_rate_on", lambda _: torch.zeros((), dtype=torch.float64))
    with pretended_card():
        assert card_smoke.main(options) == 1
    assert cells(capsys.readouterr().out)["finetune, convnet2"][5:] == ["failed", ""]


def test_on_a_pretended_card_it_is_too_and_a_failure_is_shown_and_told(
    card_smoke: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--only", "wa", *TINY, "--device")
    with pretended_card(bf16=card_smoke.half_precision_pays(card_smoke.CPU)):
        assert card_smoke.main((*options, "cuda")) == 0
    printed = capsys.readouterr().out
    assert "a card that is not there" in printed
    assert cells(printed)["wa"][3:] == ["1.000", "yes", "yes", "yes"]

    monkeypatch.setattr(card_smoke, "similarities", lambda *_: dict[str, float]()["nothing"])
    assert card_smoke.main((*options, "cpu")) == 1
    assert "| wa | failed: KeyError |" in capsys.readouterr().out
