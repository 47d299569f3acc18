"""A quarter of an hour on a graphics card: is it right, how fast is it, and how far does it come?

    EDGECIL_DATA=DATA python benchmarks/card_session.py --out OUT --work WORK --at-once 2
    python benchmarks/card_session.py --rehearse --out OUT --work WORK    # tiny, on any machine

In this order, each part in processes of its own, so that a fault in one does not end the others:

    check     `card_smoke.py --check`: do replayed steps end in the bytes of steps one by one? If
              not, the trainings below start theirs one by one, and no others are timed
    smoke     `card_smoke.py`: every method learns what it learns on the processor
    speed     `card_speed.py`: steps one by one against steps that are recorded and replayed
    thrift    `edgecil train --method thrift --recipe thorough` on all of CIFAR-100, at the
              published budgets, the smallest first
    memo      MEMO by the published recipe and accounting at these budgets, the largest first,
              beside the published averages

The last two take turns: each training of a turn gets its share of the time that is left, of which
`--at-once` go on together. They stop in good order and go on when the script is run again with the
same two folders. A training that fails is gone on with once, with its steps one by one. What is
finished is not run again, nor are rows of the first three parts that this revision has on this
machine.

It is made for a machine that is lent for a quarter of an hour, in calls of ten minutes at most:
give it twice, the second time with `--minutes` of what is left. OUT gets all that is to be kept,
tables and each training's results.json and metrics.csv, less than a megabyte, as soon as there is
something. WORK has the runs, and is to be there for the second call. DATA is the folder that has
cifar-100-python; CIFAR-100 is downloaded where it is not there. edgecil must be installed, since a
run notes its version.

Between steps a training encodes, evaluates and writes, so that two share a card well, best through
NVIDIA's MPS (`nvidia-cuda-mps-control -d`); the seconds of each are then those of both.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from itertools import zip_longest
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from card_machine import machine_and_code
from card_smoke import FAILED
from edgecil.data import is_here, load_dataset
from edgecil.errors import EdgecilError
from edgecil.evaluation.results import StageResult, read_results
from edgecil.planning.protocols import protocol_named
from edgecil.published import published_accuracies, published_at
from edgecil.training.loop import choose_device
from edgecil.training.recording import EAGER
from edgecil.training.stopping import EXIT_STOPPED

HERE = Path(__file__).parent
PROTOCOL, TASKS = "cifar100-b0-inc10", 10
PARTS = ("check", "smoke", "speed", "thrift", "memo")
MOST_SECONDS = {"check": 100, "smoke": 150, "speed": 90}
"""Of each of the first parts."""
LEAST_SECONDS = 40
"""A training is not begun or gone on with for less."""
TIMED_OUT = 124
"""What stands for the exit code of what had to be ended."""
GOOD = (0, EXIT_STOPPED)
"""Exit codes of what ended as it was to."""
THRIFT = "--epochs 40 --first-epochs 100 --batch-size 256 --learning-rate 0.2"
"""With what the planner takes at the smallest budget, 8 M pictures of 48,000 a second on an H200:
three minutes of steps."""
HEAD = (
    "| method | budget, bytes | after each task, % | average / last of these "
    "| published, all tasks | training, s | ended with |\n|---|---|---|---|---|---|---|"
)
REHEARSAL = (
    "--data glyphs --image-size 16 --increment 21 --budget 1MB --backbone convnet2 --epochs 1"
)


class Python:
    """Python with these words, for so long at most; all that it started ends with it.

    Args:
        words: what it is given.
        seconds: how long.
        variables: of its environment, beside those at hand.
    """

    def __init__(self, words: Sequence[str | Path], seconds: float, **variables: str) -> None:
        self._end = time.monotonic() + seconds
        # A session of its own, so that its workers can be told from everybody else's.
        self._process = subprocess.Popen(
            [sys.executable, *words], env=os.environ | variables, start_new_session=True
        )
        try:
            print(f"== {' '.join(map(str, words))}", flush=True)
        except BaseException:  # whoever stops this now has not got what has just begun
            self.end()
            raise

    def end(self) -> None:
        """End it, and whatever it left."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def code(self) -> int | None:
        """Its exit code; None while it runs and may."""
        late = time.monotonic() > self._end
        return TIMED_OUT if self._process.poll() is None and late else self._process.returncode


def ran(words: Sequence[str | Path], seconds: float, **variables: str) -> int:
    """The exit code of `Python`, once it is over."""
    process = Python(words, seconds, **variables)
    try:
        while (code := process.code()) is None:
            time.sleep(0.1)
    finally:
        process.end()
    return code


@dataclass(eq=False)
class Training:
    """A run of all tasks."""

    method: str
    """`thrift` or `memo`."""
    budget_bytes: int
    """The budget; 0 for a rehearsal."""
    work: Path
    """Where runs are kept."""
    more: tuple[str, ...] = ()
    """More options of `edgecil train`."""
    eager: bool = False
    """Whether its steps are started one by one."""
    codes: list[int] = field(default_factory=list)
    """What it ended with in this call."""

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.work / f"{self.method}-{self.budget_bytes}"

    @property
    def tasks(self) -> int:
        """How many it has."""
        return TASKS if self.budget_bytes else 3

    @property
    def words(self) -> tuple[str | Path, ...]:
        """What trains it, or goes on with it."""
        given: tuple[str, ...] = ("--method", self.method, "--budget", str(self.budget_bytes))
        if not self.budget_bytes:
            given = ("--method", self.method, *REHEARSAL.split())
        elif self.method == "memo":
            given += ("--protocol", PROTOCOL, "--accounting", "published")
        else:
            given += ("--data", "cifar100", "--increment", "10", "--recipe", "thorough")
        return ("-m", "edgecil", "train", *given, *self.more, "--run", self.run, "--resume")

    def stages(self) -> tuple[StageResult, ...]:
        """What was learned by now."""
        return read_results(self.run).stages if (self.run / "results.json").exists() else ()

    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return len(self.stages()) == self.tasks

    def started(self, seconds: float) -> Python:
        """Train, and stop in good order before these have passed."""
        words = (*self.words, "--stop-after", f"{seconds - 10:.0f}s")
        return Python(words, seconds + 30, **({EAGER: "1"} if self.eager else {}))

    def line(self) -> str:
        """A line of the table."""
        stages = self.stages()
        accuracies = [stage.whole_accuracy or 0.0 for stage in stages]
        cells = (
            self.method,
            f"{self.budget_bytes:,}",
            " ".join(f"{accuracy:.1f}" for accuracy in accuracies),
            self._told(accuracies),
            self._published(),
            f"{sum(stage.seconds for stage in stages):.0f}",
            ", ".join(map(str, self.codes)) or "not run",
        )
        return f"| {' | '.join(cells)} |"

    def _told(self, accuracies: Sequence[float]) -> str:
        if not accuracies:
            return "-"
        told = f"{mean(accuracies):.2f} / {accuracies[-1]:.2f}"
        missing = len(accuracies) < self.tasks
        return f"{told}, of {len(accuracies)} tasks alone" if missing else told

    def _published(self) -> str:
        budget_mib = max(1, self.budget_bytes) / 2**20
        for one in published_at(published_accuracies(PROTOCOL), budget_mib):
            if one.method == self.method:
                read_off = ", read off a plot" if one.read_off_plot else ""
                return f"{one.average} / {one.last}{read_off}"
        return "-"


def trainings(
    methods: Sequence[str], work: Path, rehearsed: bool, thrift: Sequence[str]
) -> list[list[Training]]:
    """Those of each method: of thrift from the smallest budget on, of memo from the largest."""
    budgets = (0,) if rehearsed else protocol_named(PROTOCOL).budgets_bytes
    of = {"thrift": budgets, "memo": budgets[::-1]}
    more = {"thrift": () if rehearsed else tuple(thrift)}
    return [[Training(name, n, work, more.get(name, ())) for n in of[name]] for name in methods]


def train(
    of_methods: Sequence[Sequence[Training]], at_once: int, end: float, told: Callable[[], None]
) -> None:
    """Train what is not finished, in turns.

    Args:
        of_methods: a turn is the next training of each.
        at_once: how many share the device.
        end: when the time is over, by time.monotonic().
        told: called whenever one has ended.
    """
    unfinished = [[one for one in those if not one.is_finished()] for those in of_methods]
    turns = enumerate(zip_longest(*unfinished))
    waiting = [(turn, one) for turn, those in turns for one in those if one]
    running: dict[Training, tuple[int, Python]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                turn, one = waiting.pop(0)
                of_turn = 1 + sum(other == turn for other, _ in waiting)
                seconds = (end - time.monotonic()) * min(1, at_once / of_turn)
                if seconds > LEAST_SECONDS:
                    running[one] = (turn, one.started(seconds))
            time.sleep(0.1)
            for one, (turn, process) in list(running.items()):
                if (code := process.code()) is None:
                    continue
                process.end()
                del running[one]
                one.codes.append(code)
                if code not in (*GOOD, TIMED_OUT) and not one.eager:
                    one.eager = True
                    waiting.insert(0, (turn, one))
                told()
    finally:
        for _, process in running.values():
            process.end()


def keep(
    out: Path, about: dict[str, Any], parts: dict[str, int], asked_for: Sequence[Training]
) -> None:
    """Write the table, and results and losses of each training, into `out`."""
    if not asked_for:
        return
    ended = ", ".join(f"{part} {code}" for part, code in parts.items()) or "none was run"
    lines = [
        f"# On a graphics card\n\n{json.dumps(about, allow_nan=False)}. Other parts ended with: "
        f"{ended}. A training ends with 0 when it is finished, with {EXIT_STOPPED} when its time "
        "is over; a second number is that of going on with its steps one by one.\n",
        HEAD,
        *(one.line() for one in asked_for if one.stages() or one.codes),
    ]
    (out / "card_session.md").write_text("\n".join(lines) + "\n")
    for one in asked_for:
        for name in ("results.json", "metrics.csv"):
            if (one.run / name).exists():
                shutil.copyfile(one.run / name, out / f"{one.run.name}-{name}")


def failed_rows(table: Path) -> str:
    """The names of rows that failed, of a table that `card_smoke.py` wrote."""
    lines = table.read_text().splitlines() if table.exists() else []
    return "; ".join(line.split("|")[1].strip() for line in lines if FAILED in line)


def parser_of_options() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/card"), help="what is to be kept")
    parser.add_argument("--work", type=Path, default=Path("runs/card"), help="the runs")
    parser.add_argument("--minutes", type=float, default=8.5, help="of this call")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--at-once", type=int, default=1, help="trainings at a time")
    parser.add_argument(
        "--rows-at-once",
        type=int,
        default=max(1, (os.cpu_count() or 1) // 2),
        help="rows of smoke at a time, each on one thread of the processor",
    )
    parser.add_argument(
        "--thrift", default=THRIFT, help="more options of edgecil train for thrift, as --thrift=..."
    )
    parser.add_argument("--rehearse", action="store_true", help="tiny, on whatever there is")
    return parser


def about_all(device: torch.device, asked: argparse.Namespace, *, learns: bool) -> dict[str, Any]:
    """What bears on results; all that a call takes is there, or is fetched.

    Raises:
        EdgecilError: CIFAR-100 cannot be had.
        PackageNotFoundError: edgecil is not installed.
    """
    about = machine_and_code(device) | {"at once": asked.at_once, "thrift": asked.thrift}
    if learns and not asked.rehearse and not is_here("cifar100"):
        load_dataset("cifar100")
    return about


def first_parts(asked: argparse.Namespace, end: float, told: Callable[[str, int], None]) -> bool:
    """Run check, smoke and speed, as far as they are asked for -> whether steps may be recorded.

    Args:
        asked: the options.
        end: when the time is over, by time.monotonic().
        told: called with the name of a part and what it ended with.
    """
    out, check = asked.out, asked.out / "card_check.md"
    tiny = ("--only", "replay", "--pictures", "8", "--epochs", "1") if asked.rehearse else ()
    few = ("--tiny", "--device", "auto") if asked.rehearse else ("--only", "batches of")
    at_once = ("--at-once", str(asked.rows_at_once))
    words: dict[str, tuple[str | Path, ...]] = {
        "check": (HERE / "card_smoke.py", "--check", "--out", check, *tiny),
        "smoke": (HERE / "card_smoke.py", "--out", out / "card_smoke.md", *at_once, *tiny),
        "speed": (HERE / "card_speed.py", "--out", out, "--new", "--turns", "1", *few),
    }
    threads = {"OMP_NUM_THREADS": "1"} if asked.rows_at_once > 1 else {}
    records = True
    for part in (one for one in words if one in asked.only):
        kinds = () if records or part != "speed" else ("--kinds", "eager")
        seconds = min(MOST_SECONDS[part], end - time.monotonic())
        code = ran((*words[part], *kinds), seconds, **(threads if part == "smoke" else {}))
        told(part, code)
        if part == "check" and code:
            records = False
            print(f"== one by one from here on: {failed_rows(check) or 'the check ended early'}")
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; 1 where one of them failed."""
    parser = parser_of_options()
    asked = parser.parse_args(arguments)
    if not (asked.rehearse or torch.cuda.is_available()):
        parser.error("this machine has no graphics card that torch sees; --rehearse does without")
    end = time.monotonic() + 60 * asked.minutes
    methods = [one for one in ("thrift", "memo") if one in asked.only]
    try:
        about = about_all(choose_device("auto"), asked, learns=bool(methods))
    except PackageNotFoundError as error:
        parser.error(f"{error.name} is not installed, and a run notes its version; pip install it")
    except EdgecilError as error:
        parser.error(str(error))
    print(f"== {json.dumps(about, allow_nan=False)}", flush=True)
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    of_methods = trainings(methods, asked.work, asked.rehearse, asked.thrift.split())
    asked_for = [one for those in zip_longest(*of_methods) for one in those if one]
    parts: dict[str, int] = {}

    def told(part: str, code: int) -> None:
        parts[part] = code
        keep(asked.out, about, parts, asked_for)

    if not first_parts(asked, end, told):
        for one in asked_for:
            one.eager = True
    train(of_methods, asked.at_once, end, lambda: keep(asked.out, about, parts, asked_for))
    keep(asked.out, about, parts, asked_for)
    if asked_for:
        print((asked.out / "card_session.md").read_text(), flush=True)
    ends = (*parts.values(), *(code for one in asked_for for code in one.codes))
    return int(any(code not in GOOD for code in ends))


if __name__ == "__main__":
    # What was started is ended with this, too, where this is ended by another.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
