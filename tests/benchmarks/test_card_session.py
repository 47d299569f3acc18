"""The quarter of an hour on a card, rehearsed: its parts run, and it goes on where it was."""

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgecil.errors import DataError
from edgecil.planning.protocols import protocol_named
from tests.benchmarks.scripts import FOLDER, loaded

pytestmark = pytest.mark.slow


@pytest.fixture
def card_session() -> Iterator[Any]:
    with loaded("card_session") as module:
        yield module


def session(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "card_session.py", *words]
    return subprocess.run(command, capture_output=True, text=True)


def cells(table: Path) -> list[str]:
    """Of its last line."""
    return [cell.strip() for cell in table.read_text().splitlines()[-1].strip("|").split("|")]


def test_a_rehearsal_runs_what_is_asked_for_and_trains_nothing_twice(tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    asked = ("--rehearse", "--only", "memo", "--out", out, "--work", work)
    done = session(*asked)
    assert done.returncode == 0, done.stderr
    method, budget, accuracies, told, _, _, ended = cells(out / "card_session.md")
    assert (method, budget, len(accuracies.split()), ended) == ("memo", "0", 3, "0")
    assert "alone" not in told
    results = (work / "memo-0" / "results.json").read_bytes()
    metrics = (work / "memo-0" / "metrics.csv").read_bytes()
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".md"} == {
        "memo-0-results.json": results,
        "memo-0-metrics.csv": metrics,
    }
    done = session(*asked)
    assert done.returncode == 0, done.stderr
    assert "edgecil train" not in done.stdout
    assert (work / "memo-0" / "results.json").read_bytes() == results
    assert cells(out / "card_session.md")[-1] == "not run"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_nothing_begins(tmp_path: Path) -> None:
    done = session("--out", tmp_path / "out", "--work", tmp_path / "work")
    assert done.returncode == 2
    assert "no graphics card that torch sees; --rehearse does without" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("edgecil", "edgecil is not installed"),
        ("cifar100", "give the folder that holds it"),
    ],
)
def test_what_is_lacking_is_found_out_before_anything_begins(
    lacking: str,
    told: str,
    card_session: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*_: object) -> Any:
        raise PackageNotFoundError("edgecil") if lacking == "edgecil" else DataError(told)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(card_session, "choose_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(card_session, "is_here", lambda _: False)
    name = "machine_and_code" if lacking == "edgecil" else "load_dataset"
    monkeypatch.setattr(card_session, name, refused)
    with pytest.raises(SystemExit) as ended:
        card_session.main(["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_what_takes_too_long_ends(card_session: Any) -> None:
    assert card_session.ran(("-c", "import time; time.sleep(3600)"), 0) == card_session.TIMED_OUT
    assert card_session.ran(("-c", "import sys; sys.exit(3)"), 3600) == 3


def test_with_a_process_all_that_it_started_ends(card_session: Any, tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    lock.touch()
    worker = (
        f"import fcntl, pathlib, time; held = open({str(lock)!r}); "
        f"fcntl.flock(held, fcntl.LOCK_EX); pathlib.Path({str(ready)!r}).touch(); time.sleep(3600)"
    )
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    process = card_session.Python(("-c", starts), 3600)
    while not ready.exists():
        assert process.code() is None
        time.sleep(0.05)
    process.end()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # which nobody has any more


def test_what_runs_ends_with_the_script(tmp_path: Path) -> None:
    words = ("--rehearse", "--only", "memo", "--out", tmp_path, "--work", tmp_path)
    command: list[str | Path] = [sys.executable, FOLDER / "card_session.py", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while not process.stdout.readline().startswith("== -m edgecil train"):
            assert process.poll() is None
        process.terminate()
        process.stdout.read()  # until nobody can write to it any more
    assert process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "memo-0" / "results.json").exists()


class Clock:
    """What stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Nothing is waited for."""


def trained(
    script: Any,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    at_once: int = 1,
    takes: float,
    codes: Sequence[int] = (),
) -> tuple[list[tuple[str, bool, float]], list[list[int]]]:
    """The trainings that were started within 1000 seconds, and what all ended with.

    Each takes so many seconds, or all that it is given, and ends with the next code, or with 75.
    """
    clock, started, ends = Clock(), list[tuple[str, bool, float]](), list(codes)

    def start(training: Any, seconds: float) -> Any:
        started.append((training.run.name, training.eager, seconds))
        clock.now += min(takes, seconds) if at_once == 1 else 0
        code = ends.pop(0) if ends else 75
        return SimpleNamespace(code=lambda: code, end=lambda: None)

    monkeypatch.setattr(script, "time", clock)
    monkeypatch.setattr(script.Training, "started", start)
    of_methods = [
        [script.Training(name, number, work) for number in (1, 2)] for name in ("thrift", "memo")
    ]
    told: list[None] = []
    script.train(of_methods, at_once, 1000.0, lambda: told.append(None))
    assert len(told) == len(started)  # the table is written whenever one ends
    return started, [one.codes for those in of_methods for one in those]


def test_each_training_of_a_turn_gets_its_share_of_the_time(
    card_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, codes = trained(card_session, tmp_path, monkeypatch, takes=1000)
    assert started == [("thrift-1", False, 500), ("memo-1", False, 500)]
    assert codes == [[75], [], [75], []]
    started, _ = trained(card_session, tmp_path, monkeypatch, takes=100)
    assert started == [
        ("thrift-1", False, 500),
        ("memo-1", False, 900),
        ("thrift-2", False, 400),
        ("memo-2", False, 700),
    ]
    started, _ = trained(card_session, tmp_path, monkeypatch, at_once=2, takes=100)
    assert [seconds for _, _, seconds in started] == [1000] * 4


def test_what_fails_is_gone_on_with_once_one_by_one(
    card_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, codes = trained(
        card_session, tmp_path, monkeypatch, takes=100, codes=(1, 0, -11, 1, 124, 0)
    )
    assert [(name, eager) for name, eager, _ in started] == [
        ("thrift-1", False),
        ("thrift-1", True),
        ("memo-1", False),
        ("memo-1", True),  # which fails, too
        ("thrift-2", False),  # and this only took too long
        ("memo-2", False),
    ]
    assert codes == [[1, 0], [124], [-11, 1], [0]]


def test_steps_that_fail_the_check_are_not_recorded_in_trainings(
    card_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str | Path, ...]] = []
    eager: list[bool] = []
    threads: list[str | None] = []

    def ran(words: tuple[str | Path, ...], seconds: float, **variables: str) -> int:
        given.append(words)
        threads.append(variables.get("OMP_NUM_THREADS"))
        return int("--check" in words)

    def train(of_methods: Any, *_: object) -> None:
        eager.extend(one.eager for those in of_methods for one in those)

    monkeypatch.setattr(card_session, "ran", ran)
    monkeypatch.setattr(card_session, "train", train)
    folders = ("--out", str(tmp_path), "--work", str(tmp_path))
    assert card_session.main(("--rehearse", *folders, "--rows-at-once", "3", "--at-once", "2")) == 1
    check, smoke, speed = given
    assert eager == [True, True]
    assert "--check" in check
    assert "eager" not in smoke
    assert smoke[smoke.index("--at-once") + 1] == "3"
    assert threads == [None, "1", None]
    assert speed[-2:] == ("--kinds", "eager")
    assert "check 1, smoke 0, speed 0" in (tmp_path / "card_session.md").read_text()


def test_the_table_says_what_an_average_is_of_and_what_was_read_off_a_plot(
    card_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = tuple(SimpleNamespace(whole_accuracy=one, seconds=30.0) for one in (80.0, 70.0))
    monkeypatch.setattr(card_session.Training, "stages", lambda _: stages)
    smallest, *_, largest = protocol_named("cifar100-b0-inc10").budgets_bytes
    lines = [
        card_session.Training("memo", budget_bytes, tmp_path, codes=[1, 75]).line()
        for budget_bytes in (smallest, largest)
    ]
    for line in lines:
        assert "| 80.0 70.0 | 75.00 / 70.00, of 2 tasks alone |" in line
        assert line.endswith("| 60 | 1, 75 |")
    assert ["read off a plot" in line for line in lines] == [True, False]
    assert "| 72.37 / 61.98 |" in lines[1]
