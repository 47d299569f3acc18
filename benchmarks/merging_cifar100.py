"""Claim: with blocks merged, twenty tasks of CIFAR-100 cost at most two points of a block a task.

All of CIFAR-100 in 20 tasks of five classes, in the order of the seed; ResNet-14 and weights in
int8, exemplars in webp:30, recipe `fast` with 4 epochs and 20 in the first task:

    merged      memo, 3 MB, at most five blocks: older ones are merged
    unlimited   memo, a block a task, and as many bytes more than 3 MB as its other blocks take,
                so that it keeps the same exemplars
    thrift      one network and compressed exemplars, 3 MB
    foster      a grown pair that is compressed after every task, 3 MB

    python benchmarks/merging_cifar100.py --out benchmarks/results --work DIR [--only merged]

prints the table and writes merging_cifar100.json and .md, with processor and versions. A run takes
most of an hour on one core; stopped, it goes on where it was. Seconds are of training and testing,
beside whatever else the machine does.
"""

import argparse
import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from as_typed import edgecil
from edgecil.evaluation.results import read_results
from edgecil.planning.accounting import encoded_sizes
from measurements import Measurements, table_of_means
from merging import POINTS, mean_lost

NEW = 2_500
"""Training pictures of a task."""
TASKS, BLOCKS, BUDGET_BYTES, BACKBONE = 20, 5, 3_000_000, "resnet14"
BLOCK_BYTES = encoded_sizes(BACKBONE, "last", "int8")[1]
SAME_EXEMPLARS_BYTES = BUDGET_BYTES + (TASKS - BLOCKS) * BLOCK_BYTES
COMMON: tuple[str, ...] = ("--data", "cifar100", "--increment", "5", "--backbone", BACKBONE)
COMMON += ("--state-precision", "int8", "--codec", "webp:30", "--epochs", "4")
COMMON += ("--first-epochs", "20", "--resume")
WAYS: dict[str, tuple[str, ...]] = {
    "merged": ("--method", "memo", "--max-blocks", str(BLOCKS)),
    "unlimited": ("--method", "memo", "--no-merge"),
    "thrift": ("--method", "thrift"),
    "foster": ("--method", "foster"),
}


def measured(way: str, seed: int, run: Path) -> dict[str, Any]:
    """Learn all tasks; what it came to."""
    budget_bytes = SAME_EXEMPLARS_BYTES if way == "unlimited" else BUDGET_BYTES
    words = ("--budget", str(budget_bytes), "--seed", str(seed), "--run", run)
    edgecil("train", *COMMON, *WAYS[way], *words)
    stages = read_results(run).stages
    accuracies = [stage.whole_accuracy or 0.0 for stage in stages]
    return {
        "accuracies": accuracies,
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "exemplars": stages[-1].exemplars,
        "state_bytes": stages[-1].state_bytes,
        "lost_in_a_merge": mean_lost(stages),
        "seconds_of_a_merge": _seconds_of_a_merge(run),
        "seconds": round(sum(stage.seconds for stage in stages)),
    }


def _seconds_of_a_merge(run: Path) -> float | None:
    """What training the merged block takes in a task that begins with one, the mean."""
    stages = read_results(run).stages
    pictures = {after.stage: NEW + before.exemplars for before, after in pairwise(stages)}
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [line for line in csv.DictReader(file) if line["phase"] == "merge"]
    if not epochs:
        return None
    seconds = sum(pictures[int(e["stage"])] / float(e["images_per_second"]) for e in epochs)
    return round(seconds / len({epoch["stage"] for epoch in epochs}), 1)


COLUMNS = (
    *("average", "last", "exemplars", "state_bytes"),
    *("lost_in_a_merge", "seconds_of_a_merge", "seconds"),
)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: one line a way, means over the seeds."""
    return table_of_means(rows, ("way",), COLUMNS, exact=POINTS)


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs/merging"))
    parser.add_argument("--seeds", default="1993")
    parser.add_argument("--only", choices=WAYS)
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "merging_cifar100")
    for seed in map(int, asked.seeds.split(",")):
        for way in [asked.only] if asked.only else WAYS:
            about = {"way": way, "seed": seed}
            if not measurements.has(about):
                run = asked.work / f"{way}-{seed}"
                measurements.add(about | measured(way, seed, run))
    measurements.write_table(
        "CIFAR-100 in 20 tasks of five classes, ResNet-14 in int8; accuracy in percent, bytes.",
        table,
    )


if __name__ == "__main__":
    main()
