"""Claim: a run goes on for a hundred tasks under the same bytes, blocks and milliseconds.

CIFAR-100 with 50 pictures of each class and 20 test pictures, one class a task, in the order of the
seed: `edgecil train` learns the first, and each other one comes by `edgecil learn`, a process
of its own. ConvNet2 with weights in int8, under 500 kB, and at most five blocks. About every fifth
process is killed at a random moment and begun again. After every task, and after every kill, the
state is read and must be whole, of at most 500,000 bytes and five blocks.

    python benchmarks/hundred_tasks.py --out benchmarks/results --work DIR [--tasks 100]

writes hundred_tasks.json, .md and .svg, with processor and versions. It can be stopped at any time
and goes on where it was.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from as_typed import edgecil, latency_ms, save_pictures
from edgecil.data import load_dataset
from edgecil.evaluation.results import read_results
from edgecil.memory.state import State, recover
from measurements import write_measured

PHOTOS, TESTED, BUDGET_BYTES, MOST_BLOCKS, SEED = 50, 20, 500_000, 5, 1993
KILLED, LATEST_KILL_S = 0.2, 12.0
OPTIONS: tuple[str, ...] = ("--backbone", "convnet2", "--state-precision", "int8")
OPTIONS += ("--increment", "1", "--epochs", "6", "--seed", str(SEED))
MEASURED_EVERY = 10
"""Tasks between two measurements of latency."""


def command(run: Path, folder: Path) -> list[str]:
    """What learns the class in a folder."""
    words: list[str | Path] = ["learn", run, "--data", folder, "--max-blocks", str(MOST_BLOCKS)]
    if not run.exists():
        words = ["train", "--data", folder, "--run", run, *OPTIONS]
        words += ["--budget", str(BUDGET_BYTES), "--max-blocks", str(MOST_BLOCKS)]
    return [str(word) for word in words]


def killed(words: list[str], seconds: float) -> bool:
    """Start a command and kill it; whether it was still at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecil", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def checked(run: Path) -> State:
    """The state, which must be whole and within its bounds."""
    recover(run / "state")
    state = State.read(run / "state")
    size_bytes = sum(path.stat().st_size for path in (run / "state").iterdir())
    if size_bytes > BUDGET_BYTES or state.settings.block_count > MOST_BLOCKS:
        raise SystemExit(f"{size_bytes} bytes, {state.settings.block_count} blocks")
    return state


def learned(run: Path, folder: Path, draw: random.Random) -> dict[str, Any]:
    """Learn one class, perhaps after a kill or several; what it came to."""
    kills, start_s = 0, time.perf_counter()
    words = command(run, folder)
    # The first task has no state yet that could be broken.
    while run.exists() and draw.random() < KILLED:
        kills += killed(words, draw.uniform(1, LATEST_KILL_S))
        checked(run)
    before = checked(run).settings.stage if run.exists() else 0
    if before == 0 or before < int(folder.name) + 1:
        edgecil(*words)
    state = checked(run)
    stage = read_results(run).stages[-1]
    return {
        "task": state.settings.stage,
        "accuracy": stage.accuracy,
        "state_bytes": stage.state_bytes,
        "blocks": state.settings.block_count,
        "exemplars": stage.exemplars,
        "kills": kills,
        "seconds": round(time.perf_counter() - start_s, 1),
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: every tenth task."""
    columns = ("task", "accuracy", "state_bytes", "blocks", "exemplars", "latency_ms", "seconds")
    yield f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        if "latency_ms" in row:
            cells = [f"{row[c]:.1f}" if c == "accuracy" else f"{row[c]:,}" for c in columns]
            yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        f"{sum(row['kills'] for row in rows)} processes were killed; the state was whole after "
        f"each. At most {max(row['state_bytes'] for row in rows):,} bytes, "
        f"{max(row['blocks'] for row in rows)} blocks."
    )


def drawn(rows: list[dict[str, Any]], file: Path) -> None:
    """Accuracy over the tasks, and chance."""
    with mpl.rc_context({"svg.hashsalt": "edgecil", "font.size": 9}):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.subplots()
        tasks = [row["task"] for row in rows]
        axes.plot(tasks, [row["accuracy"] for row in rows], label="accuracy")
        axes.plot(tasks, [100 / task for task in tasks], "--", color="0.5", label="chance")
        axes.set(xlabel="classes, one a task", ylabel="accuracy, %", ylim=(0, 100))
        axes.legend(frameon=False)
        figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Learn what is not learned yet, and write what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs/hundred"))
    parser.add_argument("--tasks", type=int, default=100)
    asked = parser.parse_args()
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    run, kept = asked.work / "run", asked.work / "rows.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    dataset = load_dataset("cifar100")
    order = np.random.default_rng(SEED).permutation(len(dataset.classes))[: asked.tasks]
    for number, label in enumerate(order):
        folder = asked.work / "classes" / f"{number:03}"
        if not folder.exists():
            draw = np.random.default_rng([SEED, number])
            save_pictures(dataset, np.array([label]), PHOTOS, folder, draw, TESTED)
        if number < len(rows):
            continue
        rows.append(learned(run, folder, random.Random(number)))
        if number % MEASURED_EVERY == 0 or number == asked.tasks - 1:
            rows[-1]["bundle"] = f"{number + 1}.edgecil"
            edgecil("export", run, "--weights", "fp32", "--out", asked.work / rows[-1]["bundle"])
        print(rows[-1], flush=True)
        kept.write_text(json.dumps(rows, allow_nan=False))
    for row in rows:  # all at once, so that what else the machine does is the same for all
        if bundle := row.pop("bundle", None):
            row["latency_ms"] = round(latency_ms(asked.work / bundle, 4.0), 3)
    write_measured(asked.out / "hundred_tasks.json", rows)
    lines = "\n".join(table(rows))
    print(lines)
    about = (
        f"CIFAR-100, {PHOTOS} pictures a class and {TESTED} to test it, one class a task, "
        f"{BUDGET_BYTES:,} bytes."
    )
    (asked.out / "hundred_tasks.md").write_text(
        f"{about}\n\n{lines}\n\n![Accuracy over tasks](hundred_tasks.svg)\n"
    )
    drawn(rows, asked.out / "hundred_tasks.svg")


if __name__ == "__main__":
    main()
