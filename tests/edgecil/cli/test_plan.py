"""`edgecil plan` before anything is there: no data, no network, no training."""

import json
import sys
from pathlib import Path

import pytest

from edgecil.cli import main


def planned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["edgecil", "plan", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_published_accounting_in_json_without_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", "cifar100", "--data-dir", str(tmp_path), "--budget", "24684160"]
    words += ["--accounting", "published", "--backbone", "resnet32", "--json"]
    plan = json.loads(planned(capsys, monkeypatch, *words))
    assert plan["method"] == "memo"
    assert plan["backbone"] == "resnet32"
    assert plan["budget_bytes"] == 24_684_160
    assert plan["accounting"] == "published"
    assert [stage["classes"] for stage in plan["stages"]] == [*range(10, 101, 10)]
    last = plan["stages"][-1]
    assert last["exemplars"] == 3312
    assert last["model_bytes"] == 4 * 3_626_896
    assert last["total_bytes"] == 4 * 3_626_896 + 3312 * 3072


def test_the_table_shows_stages_spare_bytes_and_alternatives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data-dir", str(tmp_path), "--budget", "7.6MB", "--codec", "webp:80"]
    told = planned(capsys, monkeypatch, *words)
    assert "spare" in told
    for backbone in ("convnet2", "resnet14", "resnet20", "resnet26", "resnet32"):
        assert backbone in told
    assert told.splitlines()[-1].startswith("next: edgecil train --data cifar100 --budget 7.6MB")
    assert list(tmp_path.iterdir()) == []
