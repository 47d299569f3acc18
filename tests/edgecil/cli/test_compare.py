"""Comparisons with real processes: stopped, killed, continued, and told what is wrong."""

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgecil.cli import main
from edgecil.comparison import comparison as comparison_module
from tests.edgecil.training.tiny import two_tasks


class Comparing:
    """`edgecil compare` on five tiny classes, as processes of their own."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.out, self.errors, self.table = folder / "out", folder / "errors", folder / "table"
        self._words = ["compare", *two_tasks(folder), "--device", "cpu"]
        self._words += ["--backbone", "convnet2", "--out", str(self.out), *more]

    def words(self, *more: str) -> list[str]:
        return [*self._words, *more]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.errors.open("wb") as errors, self.table.open("wb") as table:
            return subprocess.Popen(
                [sys.executable, "-m", "edgecil", *self.words(*more)],
                stdout=table,
                stderr=errors,
                env=environment,
            )

    def said(self) -> str:
        return self.errors.read_text()

    def cells(self) -> dict[str, dict[str, Any]]:
        content = json.loads((self.out / "comparison.json").read_text())
        return {cell["name"]: cell for cell in content["cells"]}

    def epochs(self, cell: str) -> list[tuple[str, ...]]:
        """Stage, phase and epoch of every line of metrics.csv."""
        metrics = self.out / cell / "metrics.csv"
        lines = metrics.read_text().splitlines()[1:] if metrics.exists() else []
        return [tuple(line.split(",")[:3]) for line in lines]

    def wait_for_epochs(self, process: subprocess.Popen[bytes], counts: dict[str, int]) -> None:
        wait_until(
            lambda: all(len(self.epochs(cell)) >= count for cell, count in counts.items()),
            process,
            self.said,
        )

    def workers(self) -> dict[str, int]:
        """The process that trains each cell."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue  # it has just ended
            if "train" in words and "--run" in words:
                run = Path(words[words.index("--run") + 1])
                if run.parent == self.out:
                    found[run.name] = int(folder.name)
        return found


Here = Callable[[list[str]], tuple[object, str]]
"""Runs the command line in this process -> its exit code and what it said on standard error."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    def run(words: list[str]) -> tuple[object, str]:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setattr(sys, "argv", ["edgecil", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capfd.readouterr().err

    return run


def wait_until(
    what: Callable[[], object], process: subprocess.Popen[bytes], said: Callable[[], str]
) -> None:
    give_up = time.monotonic() + 600
    while not what():
        assert process.poll() is None, said()
        assert time.monotonic() < give_up, said()
        time.sleep(0.02)


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode, time of change and bytes."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_comparison_killed_after_one_of_its_runs_goes_on_and_repeats_nothing(
    tmp_path: Path, here: Here
) -> None:
    comparing = Comparing(tmp_path, "--methods", "memo,replay", "--budgets", "400kB")
    memo, replay = "memo-400000-1993", "replay-400000-1993"
    options = ("--jobs", "2", "--epochs", "8")

    process = comparing.start(*options)
    comparing.wait_for_epochs(process, {memo: 1})
    os.kill(comparing.workers()[memo], signal.SIGKILL)
    wait_until(lambda: "killed by the system" in comparing.said(), process, comparing.said)
    comparing.wait_for_epochs(process, {replay: 1})
    assert f"{memo}  failed: killed by the system" in comparing.said()
    assert "lower --jobs" in comparing.said()
    process.kill()
    process.wait()
    give_up = time.monotonic() + 300
    while comparing.workers():  # nobody trains unwatched
        assert time.monotonic() < give_up
        time.sleep(0.02)

    assert comparing.start(*options).wait(timeout=600) == 0, comparing.said()
    table = comparing.table.read_text().splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["memo", "replay"]
    for cell in (memo, replay):
        assert len(comparing.epochs(cell)) == len(set(comparing.epochs(cell))) == 2 * 8

    finished = contents(comparing.out / memo) | contents(comparing.out / replay)
    code, told = here(comparing.words(*options))
    assert code == 0
    assert "2 runs, 2 of them finished before" in told
    assert contents(comparing.out / memo) | contents(comparing.out / replay) == finished


def test_a_budget_that_holds_nothing_is_named_and_the_rest_goes_on(
    tmp_path: Path, here: Here
) -> None:
    asked = ("--budgets", "100kB", "--state-precision", "fp16", "--jobs", "2")
    comparing = Comparing(tmp_path, *asked)
    code, told = here(comparing.words("--methods", "memo,replay", "--epochs", "1"))
    assert code == 1
    assert "failed: memo-100000-1993: 100 000 bytes cannot hold 2 tasks" in told
    assert told.splitlines()[-1].startswith("error: 1 of 2 runs failed")
    replay = comparing.out / "replay-100000-1993"
    header, line = (comparing.out / "comparison.csv").read_text().splitlines()
    assert header.split(",")[:3] == ["method", "classifier", "backbone"]
    assert line.split(",")[:3] == ["replay", "linear", "convnet2"]

    finished = contents(replay)
    code, told = here(comparing.words("--methods", "replay", "--epochs", "2"))
    assert code == 1
    assert f"{replay} was started with other settings (epochs: 1 -> 2)" in told
    assert contents(replay) == finished


def test_stop_after_has_its_own_code_and_starts_nothing_more(tmp_path: Path, here: Here) -> None:
    comparing = Comparing(tmp_path, "--methods", "replay", "--budgets", "150kB", "--seeds", "1,2")
    for calls in (1, 2):  # each of which takes longer to load than it may take
        code, told = here(comparing.words("--epochs", "500", "--stop-after", "0.01s"))
        assert code == 75
        assert told.splitlines()[-1] == "stopped by --stop-after; the same command goes on"
        assert len(comparing.epochs("replay-150000-1")) == calls
    assert not (comparing.out / "replay-150000-2.log").exists()
    assert {cell["status"] for cell in comparing.cells().values()} == {"waiting"}


@pytest.mark.slow
def test_ctrl_c_stops_the_runs_with_their_last_epoch_kept(tmp_path: Path) -> None:
    comparing = Comparing(tmp_path, "--methods", "replay", "--budgets", "150kB")
    process = comparing.start("--epochs", "500")
    comparing.wait_for_epochs(process, {"replay-150000-1993": 1})
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=200) == 130
    assert "stopped by SIGINT; the same command goes on" in comparing.said()
    assert "Traceback" not in comparing.said()
    assert (comparing.out / "replay-150000-1993" / "checkpoint").exists()
    assert "stopped by SIGTERM" in (comparing.out / "replay-150000-1993.log").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install 'edgecil[ray]'")
def test_a_ray_worker_that_is_killed_costs_at_most_one_epoch(tmp_path: Path) -> None:
    comparing = Comparing(tmp_path, "--methods", "memo,replay", "--budgets", "400kB")
    memo, replay = "memo-400000-1993", "replay-400000-1993"
    process = comparing.start("--engine", "ray", "--jobs", "2", "--epochs", "10")
    comparing.wait_for_epochs(process, {memo: 3})
    status = Path(f"/proc/{comparing.workers()[memo]}/stat").read_text()
    ray_worker = int(status.rpartition(")")[2].split()[1])
    os.kill(ray_worker, signal.SIGKILL)
    assert process.wait(timeout=600) == 0, comparing.said()
    assert {cell["status"] for cell in comparing.cells().values()} == {"finished"}
    commands = (comparing.out / f"{memo}.log").read_text().count("$ OMP_NUM_THREADS=")
    assert commands == 2
    for cell in (memo, replay):
        assert len(comparing.epochs(cell)) == len(set(comparing.epochs(cell))) == 2 * 10


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--methods", "memo,lwf"), "unknown method 'lwf'"),
        (("--methods", " , "), "--methods is empty"),
        (("--budgets", "published"), "give --protocol"),
        (("--budgets", "1MB,1Mb"), "kB, MB, GB, KiB, MiB, GiB"),
        (("--seeds", "one"), "whole numbers"),
        (("--seeds", "1²"), "whole numbers"),
        (("--jobs", "0"), "--jobs is 0"),
        (("--engine", "slurm"), "processes, ray"),
        (("--data", "cifar1000"), "cifar100, glyphs"),
        (("--stop-after", "9"), "9m"),
        (("--protocol", "cifar100-b0-inc11"), "cifar100-b0-inc10"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: Here,
    changed: tuple[str, str],
    said: str,
) -> None:
    asked = {"--data": "glyphs", "--methods": "memo", "--budgets": "1MB", "--out": "out"}
    words = [word for pair in (asked | dict([changed])).items() for word in pair]
    monkeypatch.chdir(tmp_path)
    code, told = here(["compare", *words])
    assert code == 2
    assert told.startswith("error: ")
    assert said in told
    assert list(tmp_path.iterdir()) == []


def test_a_second_comparison_keeps_out_of_the_first_ones_folder(tmp_path: Path, here: Here) -> None:
    comparing = Comparing(tmp_path, "--methods", "memo", "--budgets", "400kB")
    comparing.out.mkdir()
    with (comparing.out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()} {platform.node()}\n")
        lock.flush()
        code, told = here(comparing.words())
    assert code == 1
    assert f"another edgecil compare (process {os.getpid()}) is at work" in told
    assert [path.name for path in comparing.out.iterdir()] == [".lock"]


def test_a_full_disk_is_said_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(comparison_module, "replace_atomically", full)
    comparing = Comparing(tmp_path, "--methods", "memo", "--budgets", "400kB")
    code, told = here(comparing.words())
    assert code == 1
    full_file = comparing.out / "commands.sh"
    assert f"error: {full_file}: the disk is full; make room, and give the same command" in told


def test_published_numbers_need_a_protocol(tmp_path: Path, here: Here) -> None:
    comparing = Comparing(tmp_path, "--methods", "memo", "--budgets", "1MB", "--published")
    code, told = here(comparing.words())
    assert code == 2
    assert "give --protocol" in told
