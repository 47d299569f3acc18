"""A run that may take so long: what it shows, and that it goes on as it began."""

import json
import time

import pytest

from edgecil.cli.progress import TerminalReporter
from edgecil.training import rehearsal
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from tests.edgecil.cli.desk import Desk

TRAIN: tuple[str, ...] = (
    "train",
    "--image-size",
    "16",
    "--budget",
    "400kB",
    "--increment",
    "2",
    "--device",
    "cpu",
)
TRAIN += ("--method", "replay", "--data", "old", "--run", "run", "--resume")


def stop(*_: object) -> None:
    """In place of a task."""
    raise Stopped("enough", EXIT_STOPPED)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbones that were measured, on a machine that gets slower every time."""
    names: list[str] = []

    def speed(settings: RunSettings, device: object) -> float:
        names.append(settings.backbone)
        return 0.001 * len(names)

    monkeypatch.setattr(rehearsal, "trained_speed", speed)
    return names


def test_a_stopped_run_goes_on_with_what_was_found_when_it_began(
    desk: Desk, measured: list[str]
) -> None:
    desk.photos("old", "cup", "fork", "key", "mug")
    out, err = desk.run(*TRAIN, "--time", "10s", "--stop-after", "1s", code=75)
    assert "every task shows about" in out + err
    begun = Run(desk.folder / "run").settings()
    assert begun.images_a_task
    assert set(measured) > {"convnet2", "resnet14"}
    count = len(measured)
    desk.run(*TRAIN, "--time", "10s")
    assert len(measured) == count
    assert Run(desk.folder / "run").settings() == begun


@pytest.mark.parametrize(
    ("began", "told"),
    [
        ((), "run was started without --time, which decides network and epochs when a run starts"),
        (("--images-a-task", "32"), "run was started without --time"),
        (("--time", "3h"), "run was started with --time 10800s, which decides network and epochs"),
    ],
)
def test_a_run_is_not_asked_for_another_time_than_it_began_with(
    desk: Desk, measured: list[str], began: tuple[str, ...], told: str
) -> None:
    desk.photos("old", "cup", "fork")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TerminalReporter, "task_started", stop)
        desk.run(*TRAIN, *began, code=EXIT_STOPPED)
    count = len(measured)
    _, err = desk.run(*TRAIN, "--time", "1h", code=1)
    assert err.startswith(f"error: {told}")
    assert ("--stop-after" in err) == (not began or "--time" not in began)
    assert err.endswith(", or give another --run folder\n")
    assert len(err.splitlines()) == 1
    assert len(measured) == count


def test_a_run_of_an_edgecil_that_kept_no_time_goes_on_with_any(
    desk: Desk, measured: list[str]
) -> None:
    desk.photos("old", "cup", "fork")
    config = desk.folder / "run/config.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TerminalReporter, "task_started", stop)
        desk.run(*TRAIN, "--time", "3h", code=EXIT_STOPPED)
        begun = json.loads(config.read_text())
        del begun["time_seconds"], begun["latency_ms"]
        config.write_text(json.dumps(begun))
        desk.run(*TRAIN, "--time", "1h", code=EXIT_STOPPED)
    assert RunSettings.load(config).images_a_task == begun["images_a_task"]


def test_the_same_time_may_be_said_in_another_way(desk: Desk, measured: list[str]) -> None:
    desk.photos("old", "cup", "fork")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TerminalReporter, "task_started", stop)
        for time_ in ("3h", "180m"):
            desk.run(*TRAIN, "--time", time_, code=EXIT_STOPPED)


def test_a_network_that_does_not_fit_the_memory_is_passed_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.photos("old", "cup", "fork")
    plan = "plan --data old --image-size 16 --budget 400kB --method replay --json --time 2h"

    def speed(settings: RunSettings, device: object) -> float | None:
        return 0.001 if settings.backbone == "convnet2" else None

    monkeypatch.setattr(rehearsal, "trained_speed", speed)
    out, _ = desk.run(*plan.split())
    assert json.loads(out)["backbone"] == "convnet2"
    monkeypatch.setattr(rehearsal, "trained_speed", lambda *_: None)
    for more in ((), ("--backbone", "resnet14")):
        _, err = desk.run(*plan.split(), *more, code=2)
        assert "does not fit the memory of the training device; give a smaller --batch-size" in err
        assert "--image-size, or another --backbone" in err
        assert len(err.splitlines()) == 1


def test_a_run_takes_about_the_time_that_it_may(desk: Desk) -> None:
    """Measured for real; the processor's time counts, whatever else the machine does meanwhile."""
    desk.photos("old", "cup", "fork", "key", "mug")
    began = time.process_time()
    desk.run(*TRAIN, "--time", "4s", "--backbone", "resnet20")
    seconds = time.process_time() - began
    found = Run(desk.folder / "run").settings().images_a_task
    assert found
    assert found > 32  # more than an epoch of the last task
    assert seconds < 16


def test_a_plan_says_what_a_time_comes_to_and_a_time_that_is_too_short_what_would_do(
    desk: Desk, measured: list[str]
) -> None:
    desk.photos("old", "cup", "fork", "key", "mug")
    asked: tuple[str, ...] = (
        "plan",
        "--data",
        "old",
        "--image-size",
        "16",
        "--budget",
        "400kB",
        "--json",
    )
    asked += ("--method", "replay", "--increment", "2", "--backbone", "convnet2")
    out, _ = desk.run(*asked, "--time", "1m")
    assert json.loads(out)["images_a_task"] > 100
    assert "epochs of the first" in json.loads(out)["reason"]
    _, err = desk.run(*asked, "--time", "0.1s", code=2)
    assert "too short for convnet2: this machine needs" in err
    assert len(err.splitlines()) == 1


POINTS = "plan --protocol cifar100-b0-inc10 --data-dir none --time 720h"


def test_a_point_that_the_time_is_too_short_for_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"resnet14": 0.0001, "resnet20": 0.001}

    def speed(settings: RunSettings, device: object) -> float:
        return seconds.get(settings.backbone, 100.0)

    monkeypatch.setattr(rehearsal, "trained_speed", speed)
    out, _ = desk.run(*POINTS.split(), "--accounting", "published")
    told = out.splitlines()
    # As many exemplars as the papers' tables have.
    assert told[2].split()[2:] == ["resnet14", "5350720", "2495"]
    assert told[3].split()[2::2] == ["resnet20", "2768"]
    for line, backbone in ((1, "convnet2"), (4, "resnet26"), (5, "resnet32")):
        assert f"30 d are too short for {backbone}: this machine needs" in told[line]
    # Of the first that can be trained.
    assert told[-1].startswith("next: edgecil train --protocol cifar100-b0-inc10 --budget 13018240")
    assert "--backbone resnet14" in told[-1]


def test_the_points_of_a_protocol_are_planned_by_one_measurement_of_each_network(
    desk: Desk, measured: list[str]
) -> None:
    more = "--codec webp:75 --state-precision int8 --json"
    out, _ = desk.run(*POINTS.split(), *more.split())
    assert {point["backbone"] for point in json.loads(out)["points"]} <= set(measured)
    assert len(measured) == len(set(measured)) == 5


def test_a_time_suits_a_budget_that_holds_no_network_without_merging(
    desk: Desk, measured: list[str]
) -> None:
    desk.photos("old", *(f"class-{number}" for number in range(9)))
    asked: tuple[str, ...] = ("plan", "--data", "old", "--image-size", "16", "--budget", "160kB")
    asked += ("--increment", "1", "--time", "2h", "--json")
    out, _ = desk.run(*asked)
    found = json.loads(out)
    assert max(stage["blocks"] for stage in found["stages"]) < 9
    assert found["backbone"] in measured
    assert len(measured) == len(set(measured))  # each once
