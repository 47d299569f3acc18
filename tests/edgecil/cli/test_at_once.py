"""Two commands on one run: whoever writes is alone, and readers put right what crashes left."""

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgecil.training.access import put_right, reading, writing
from tests.edgecil.cli.desk import Desk

pytestmark = pytest.mark.slow


def cut_short(run: Path) -> None:
    """What a crash leaves between the two renames of a state's writing."""
    (run / "state").rename(run / "state.old")
    (run / "state.new").mkdir()
    (run / "state.new" / "state.json").write_text("{")


@pytest.mark.parametrize(
    "command",
    [
        "train --data old --increment 2 --image-size 16 --budget 600kB --backbone convnet2 "
        "--epochs 2 --codec webp-lossless --state-precision fp16 --run run --resume",
        "learn run --data new",
        "learn run --discard",
        "export run --out x.edgecil",
        "update run --since first.edgecil",
    ],
)
def test_who_comes_second_is_told_who_is_at_work_and_changes_nothing(
    trained: Desk, command: str
) -> None:
    run = trained.folder / "run"
    trained.run("export", "run", "--out", "first.edgecil")
    before = trained.state(), trained.strictly("config.json"), (run / "metrics.csv").read_bytes()
    with writing(run):
        _, told = trained.run(*command.split(), code=1)
    who = f"process {os.getpid()}; wait until it has ended"
    assert re.search(rf"error: \S*run is in use by {who}", told)
    after = trained.state(), trained.strictly("config.json"), (run / "metrics.csv").read_bytes()
    assert after == before
    assert not (trained.folder / "x.edgecil").exists()
    assert not (run / "checkpoint").exists()
    trained.run(*command.split(), code=1 if "update" in command else 0)  # nothing new in it


def test_two_trainings_at_once_end_as_one(trained: Desk) -> None:
    """Real processes, both of which begin at the same time."""
    command = "train --data old --image-size 16 --budget 600kB --backbone convnet2 --epochs 30"
    command += " --codec webp-lossless --state-precision fp16 --increment 2 --device cpu"
    command += " --run two --resume"
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "edgecil", *command.split()],
            cwd=trained.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    if sorted(codes) == [0, 1]:  # else one of them had ended before the other came to train
        winner = both[codes.index(0)]
        assert f"two is in use by process {winner.pid}" in said[codes.index(1)]
    else:
        assert codes == [0, 0]
    lines = (trained.folder / "two/metrics.csv").read_text().splitlines()[1:]
    epochs = [tuple(map(int, line.split(",")[:3:2])) for line in lines]
    assert epochs == [(task, epoch) for task in (1, 2) for epoch in range(1, 31)]


def test_a_writer_waits_for_nobody_but_says_that_the_run_is_being_exported(trained: Desk) -> None:
    with reading(trained.folder / "run"):
        trained.run("export", "run", "--out", "x.edgecil")  # exports do not disturb each other
        _, told = trained.learn("--data", "new", code=1)
        assert "is in use by another process" in told
    trained.learn("--data", "new")


def test_what_a_crash_cut_short_is_put_right_before_it_is_read(trained: Desk) -> None:
    run, whole = trained.folder / "run", trained.state()
    cut_short(run)
    trained.run("export", "run", "--out", "x.edgecil")
    assert trained.state() == whole
    cut_short(run)
    out, _ = trained.run("info", "run")
    total = sum(map(len, whole.values()))
    assert f"{total:,} bytes of".replace(",", " ") in out
    assert trained.state() == whole
    assert not list(run.glob("state.*"))


def test_nothing_is_put_right_under_the_hands_of_who_writes(trained: Desk) -> None:
    run = trained.folder / "run"
    with writing(run):
        cut_short(run)
        put_right(run)
        trained.run("info", "run")
        assert {path.name for path in run.glob("state*")} == {"state.old", "state.new"}
    put_right(run)
    assert {path.name for path in run.glob("state*")} == {"state"}


def test_a_run_without_a_lock_file_is_read_and_gets_none(trained: Desk) -> None:
    (trained.folder / "run/.lock").unlink()
    trained.run("export", "run", "--out", "x.edgecil")
    trained.run("info", "run")
    assert not (trained.folder / "run/.lock").exists()


def test_training_needs_no_locks_where_the_file_system_has_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    desk.photos("old", "ant", "bee")
    desk.train()
    desk.run("export", "run", "--out", "x.edgecil")


def test_what_is_no_run_gets_no_lock(desk: Desk) -> None:
    (desk.folder / "thesis").mkdir()
    (desk.folder / "thesis/thesis.tex").write_text("do not touch")
    desk.photos("old", "ant", "bee")
    desk.run("learn", "thesis", "--data", "old", code=1)
    desk.train("--run", "thesis", code=1)
    desk.run("export", "thesis", "--out", "x.edgecil", code=1)
    assert [path.name for path in (desk.folder / "thesis").iterdir()] == ["thesis.tex"]


def test_a_start_that_was_cut_short_is_no_obstacle_to_the_next(desk: Desk) -> None:
    desk.photos("old", "ant", "bee")
    (desk.folder / "run").mkdir()
    (desk.folder / "run/.lock").write_text("4711 elsewhere\n")
    (desk.folder / "run/.config.json.4711").write_text("{")
    desk.train()


def test_a_killed_training_is_never_in_the_way(trained: Desk) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from edgecil.training.access import *\n"
            "with writing(Path(sys.argv[1])):\n    print(flush=True); time.sleep(60)",
            str(trained.folder / "run"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    with holder.stdout:
        holder.stdout.readline()
        _, told = trained.learn("--data", "new", code=1)
        assert f"is in use by process {holder.pid}" in told
        holder.kill()
        holder.wait()
    trained.learn("--data", "new")
