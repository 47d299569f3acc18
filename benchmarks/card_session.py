"""A quarter of an hour on a graphics card: is it right, how fast is it, and how far does it come?

    python benchmarks/card_session.py --out benchmarks/results --work DIR [--minutes 13]
    python benchmarks/card_session.py --rehearse --work DIR      # tiny, on whatever there is

In this order, each part in processes of its own, so that a fault in one does not end the others:

    smoke     `card_smoke.py`: every method learns what it learns on the processor
    speed     `card_speed.py`: steps one by one against steps that are recorded and replayed
    thrift    `edgecil train --method thrift --recipe thorough` on all of CIFAR-100, at the
              published budgets, the smallest first
    memo      MEMO by the published recipe and accounting at these budgets, the largest first,
              beside the published averages

The last two take turns, stop in good order when the time is over, and go on when the script is run
again; what is finished is not run again. Between steps a training encodes, evaluates and writes, so
that two share a card well (`--at-once`); the seconds of each are then those of both. CIFAR-100 has
to be where EDGECIL_DATA says, or it is downloaded; edgecil must be installed, since a run notes its
version.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from edgecil.evaluation.results import StageResult, read_results
from edgecil.planning.protocols import protocol_named
from edgecil.published import published_accuracies, published_at
from edgecil.training.loop import choose_device
from edgecil.training.run import hardware, versions

HERE = Path(__file__).parent
PROTOCOL, TASKS = "cifar100-b0-inc10", 10
PARTS = ("smoke", "speed", "thrift", "memo")
MOST_SECONDS = 150
"""Of each of the first two parts."""
LEAST_SECONDS = 40
"""A training is not begun or gone on with for less."""
HEAD = (
    "| method | budget, bytes | after each task, % | average / last of these "
    "| published, all tasks | training, s |\n|---|---|---|---|---|---|"
)
REHEARSAL = (
    "--data glyphs --image-size 16 --increment 21 --budget 1MB --backbone convnet2 --epochs 1"
)


@dataclass(frozen=True)
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

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.work / f"{self.method}-{self.budget_bytes}"

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

    def go_on(self, seconds: float) -> None:
        """Train for so long at most."""
        if len(self.stages()) < (TASKS if self.budget_bytes else 3) and seconds > LEAST_SECONDS:
            ran((*self.words, "--stop-after", f"{seconds - 10:.0f}s"), seconds + 30)

    def line(self) -> str:
        """A line of the table."""
        accuracies = [stage.whole_accuracy or 0.0 for stage in self.stages()]
        found = published_at(published_accuracies(PROTOCOL), max(1, self.budget_bytes) / 2**20)
        beside = [f"{one.average} / {one.last}" for one in found if one.method == self.method]
        seconds = sum(stage.seconds for stage in self.stages())
        cells = (
            self.method,
            f"{self.budget_bytes:,}",
            " ".join(f"{accuracy:.1f}" for accuracy in accuracies),
            f"{mean(accuracies):.2f} / {accuracies[-1]:.2f}",
            *(beside or ["-"]),
        )
        return f"| {' | '.join(map(str, cells))} | {seconds:.0f} |"


def ran(words: Sequence[str | Path], seconds: float) -> int:
    """Run Python with these words, for so long at most; its exit code."""
    print(f"== {' '.join(map(str, words))}", flush=True)
    try:
        return subprocess.run([sys.executable, *words], timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        return 124


def trainings(
    methods: Sequence[str], work: Path, rehearsed: bool, thrift: Sequence[str]
) -> list[Training]:
    """What is trained: thrift from the smallest budget on, memo from the largest, in turns."""
    budgets = (0,) if rehearsed else protocol_named(PROTOCOL).budgets_bytes
    of = {"thrift": budgets, "memo": budgets[::-1]}
    turns = zip(*(of[method] for method in methods), strict=True)
    more = {"thrift": tuple(thrift)}
    return [
        Training(method, budget_bytes, work, more.get(method, ()))
        for turn in turns
        for method, budget_bytes in zip(methods, turn, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; 1 where one of the first two failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/card"))
    parser.add_argument("--work", type=Path, default=Path("runs/card"))
    parser.add_argument("--minutes", type=float, default=13)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--at-once", type=int, default=1, help="rows, and trainings, at a time")
    parser.add_argument("--thrift", default="", help="more options of edgecil train for thrift")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on whatever there is")
    asked = parser.parse_args(arguments)
    if not (asked.rehearse or torch.cuda.is_available()):
        parser.error("this machine has no graphics card that torch sees; --rehearse does without")
    end = time.monotonic() + 60 * asked.minutes
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    device, code = choose_device("auto"), 0
    tiny = ("--only", "replay", "--pictures", "8", "--epochs", "1") if asked.rehearse else ()
    if "smoke" in asked.only:
        words = (HERE / "card_smoke.py", "--out", asked.out / "card_smoke.md", *tiny)
        words += ("--at-once", str(asked.at_once))
        code |= ran(words, MOST_SECONDS)
    if "speed" in asked.only:
        few = ("--tiny", "--device", device.type) if asked.rehearse else ()
        code |= ran((HERE / "card_speed.py", "--out", asked.out, *few), MOST_SECONDS)
    asked_for = trainings(
        [one for one in ("thrift", "memo") if one in asked.only],
        asked.work,
        asked.rehearse,
        asked.thrift.split(),
    )
    with ThreadPoolExecutor(asked.at_once) as threads:
        list(threads.map(lambda one: one.go_on(end - time.monotonic()), asked_for))
    lines = [
        f"# On a graphics card\n\n{json.dumps(hardware(device) | versions(), allow_nan=False)}; "
        f"{asked.at_once} trainings at a time; thrift by `thorough {asked.thrift}`.\n",
        HEAD,
        *(one.line() for one in asked_for if one.stages()),
    ]
    if asked_for:
        (asked.out / "card_session.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return min(code, 1)


if __name__ == "__main__":
    sys.exit(main())
