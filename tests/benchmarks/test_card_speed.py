"""Steps one by one and replayed ones, measured on a pretended card, end with the same bits."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.scripts import loaded
from tests.edgecil.training.pretended_card import pretended_card

pytestmark = pytest.mark.slow


def test_both_kinds_are_measured_and_one_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loaded("card_speed") as script, pretended_card() as card:
        assert script.main(["--tiny", "--device", "cuda", "--out", str(tmp_path)]) == 0
        # Of five steps in three epochs the first three are real ones; of two settings, twice.
        replays = 2 * 2 * (5 * script.EPOCHS - 3)
        assert card.replays == replays
        assert script.main(["--tiny", "--device", "cuda", "--out", str(tmp_path), "--new"]) == 0
        assert card.replays == replays
        rows = json.loads((tmp_path / "card_speed.json").read_text())["rows"]
        one, revision = script.TINY[0], script.revision()
        assert script.is_known(one, rows, script.KINDS)
        rows[0]["eager"]["revision"] = f"not {revision}"
        assert script.is_known(one, rows, ["recorded"])
        assert not script.is_known(one, rows, script.KINDS)
    rows = json.loads((tmp_path / "card_speed.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [setting.name for setting in script.TINY]
    assert all(row["same_bits"] and row["recorded"]["same_bits"] for row in rows)
    assert all(row["eager"]["loss"] == row["recorded"]["loss"] > 0 for row in rows)
    assert "| yes | yes |" in capsys.readouterr().out
