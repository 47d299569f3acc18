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
    assert "exemplars in webp:80, 7 600 000 bytes" in told
    told = planned(capsys, monkeypatch, *words[:4], "--method", "slda")
    assert "no pictures kept, 7 600 000 bytes" in told  # and so no codec
    assert "webp" not in told
    assert list(tmp_path.iterdir()) == []


def test_an_unset_variable_is_not_what_is_planned_where_no_data_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgecil", "plan", "--data", "", "--budget", "3MB"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "no data set and no folder ''" in capsys.readouterr().err


# Exemplars at every budget point, small to large, as the papers' tables have them.
@pytest.mark.parametrize(
    ("method", "exemplars"),
    [
        ("icarl", [2000, 3634, 4900, 6165, 7431]),
        ("der", [2096, 2000, 2000, 2000, 2000]),
        ("memo", [2118, 2495, 2768, 3040, 3312]),
    ],
)
def test_a_protocol_without_a_budget_plans_every_published_point(
    method: str,
    exemplars: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--protocol", "cifar100-b0-inc10", "--method", method, "--data-dir", str(tmp_path)]
    words += ["--accounting", "published", "--json"]
    found = json.loads(planned(capsys, monkeypatch, *words))
    assert [plan["stages"][-1]["exemplars"] for plan in found["points"]] == exemplars
    assert [plan["budget_bytes"] for plan in found["points"]] == [
        7_998_016,
        13_018_240,
        16_906_880,
        20_795_520,
        24_684_160,
    ]


def test_imagenet_is_planned_without_its_pictures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--protocol", "imagenet100-b50-inc5", "--method", "memo", "--accounting", "published"]
    found = json.loads(planned(capsys, monkeypatch, *words, "--json"))
    # What the papers' rule leaves beside a trunk and eleven blocks, by hand from published counts.
    sizes = {
        "convnet4": (345_762_048, 314_880, 591_360),
        "resnet10": (516_910_848, 1_232_704, 3_673_088),
        "resnet18": (792_822_528, 2_782_784, 8_393_728),
        "resnet26-bottleneck": (914_687_744, 3_444_032, 10_502_144),
        "resnet34": (1_237_581_568, 8_170_304, 13_114_368),
        "resnet50": (1_335_409_408, 8_543_296, 14_964_736),
    }
    assert [plan["backbone"] for plan in found["points"]] == list(sizes)
    for plan, (budget, trunk, block) in zip(found["points"], sizes.values(), strict=True):
        assert plan["budget_bytes"] == budget
        left = (budget - 4 * (trunk + 11 * block)) // (224 * 224 * 3)
        assert plan["stages"][-1]["exemplars"] == left


def test_one_budget_of_a_protocol_is_one_plan_and_names_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--protocol", "imagenet100-b0-inc10", "--budget", "400MB", "--codec", "raw"]
    plan = json.loads(planned(capsys, monkeypatch, *words, "--json"))
    assert (plan["protocol"], len(plan["stages"])) == ("imagenet100-b0-inc10", 10)
    told = planned(capsys, monkeypatch, *words).splitlines()[-1]
    assert told.startswith(
        "next: edgecil train --protocol imagenet100-b0-inc10 --data FOLDER --budget 400MB "
    )


def test_the_command_trains_what_was_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "--data cifar100 --budget 3MB --base 20 --increment 8 --seed 7 --method thrift "
    asked += "--codec webp:50 --state-precision int8 --first-epochs 9 --epochs 5"
    told = planned(capsys, monkeypatch, *asked.split(), "--data-dir", str(tmp_path))
    command = told.splitlines()[-1].removeprefix("next: edgecil train ").split()
    pairs = set(zip(command[::2], command[1::2], strict=True))
    words = [*asked.split(), "--data-dir", str(tmp_path)]
    assert pairs >= set(zip(words[::2], words[1::2], strict=True))
    assert {option for option, _ in pairs} == {*words[::2], "--backbone"}
    # Where the environment says where data are, it says so to training, too.
    monkeypatch.setenv("EDGECIL_DATA", str(tmp_path))
    told = planned(capsys, monkeypatch, *asked.split())
    assert told.splitlines()[-1].split() == [
        "next:",
        *("edgecil", "train"),
        *(word for word in command if word not in ("--data-dir", str(tmp_path))),
    ]


def test_the_command_trains_as_many_blocks_as_were_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the backbone alone the planner would merge further than among all."""
    asked = "--data cifar100 --budget 5MB --increment 5 --codec webp:75 --state-precision int8"
    told = planned(capsys, monkeypatch, *asked.split(), "--data-dir", str(tmp_path)).splitlines()
    again = planned(capsys, monkeypatch, *told[-1].split()[3:]).splitlines()
    stages = [[line for line in table if line[:4].strip().isdigit()] for table in (told, again)]
    assert len(stages[0]) == 20
    assert stages[0] == stages[1]
    assert again[-1] == told[-1]


@pytest.mark.parametrize(("most", "merging"), [(20, []), (10, []), (8, ["9", "10"])])
def test_a_footnote_tells_of_merges_where_there_are_any(
    most: int,
    merging: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--budget", "7.6MB", "--data-dir", str(tmp_path), "--backbone", "convnet2"]
    words += ["--codec", "webp:75", "--state-precision", "int8", "--max-blocks", str(most)]
    told = planned(capsys, monkeypatch, *words)
    assert [line.split()[0] for line in told.splitlines() if f" {most}* " in line] == merging
    assert ("* older blocks are merged" in told) == bool(merging)


def test_a_longer_training_is_planned_with_a_larger_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--budget", "7998016", "--method", "thrift", "--data-dir", str(tmp_path), "--json"]
    models = [
        json.loads(planned(capsys, monkeypatch, *words, *training))["stages"][-1]["model_bytes"]
        for training in (["--epochs", "1"], ["--recipe", "published"])
    ]
    assert models[0] < models[1]


def test_a_point_that_a_backbone_does_not_fit_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--protocol", "cifar100-b0-inc10", "--method", "der", "--data-dir", str(tmp_path)]
    words += ["--accounting", "published", "--backbone", "resnet32"]
    lines = planned(capsys, monkeypatch, *words).splitlines()
    assert "cannot hold 10 tasks" in lines[1]
    assert lines[5].split() == ["24684160", "23.54", "resnet32", "18540160", "2000"]


def test_neither_a_budget_nor_a_protocol_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgecil", "plan"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code != 0
    assert "give --budget, or --protocol" in capsys.readouterr().err
