"""Question: where all pictures can be kept, does a block a task bring more than it takes?

The first 50 classes of CIFAR-100 in the published order, five tasks of ten
(cifar100_50_classes.toml), at two budgets of the papers: all 25,000 training pictures fit beside
five blocks, at 13,018,240 bytes in webp:75 with ResNet-14, at 24,684,160 in webp:90 with one twice
as wide. `memo` has the levers of `thrift`: compressed exemplars, logits shifted by the prior,
weights in int8. Both have the recipe `fast`:

    thrift   one network
    memo     a block a task behind a trunk that goes on learning, none merged, trained on as many
             pictures a task
    longer   thrift, trained on twice as many

    python benchmarks/second_block.py --out benchmarks/results --work DIR
        [--only memo] [--budgets 13018240] [--seeds 1993]

prints the table and writes second_block.json and .md, with processor and versions. Stopped, it goes
on where it was. Seconds are of training and testing, one thread, beside whatever else the machine
does.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from as_typed import edgecil
from edgecil.evaluation.results import read_results
from measurements import Measurements, table_of_means

AMPLE = {13_018_240: ("webp:75", "resnet14"), 24_684_160: ("webp:90", "resnet14x2")}
"""By the budget in bytes: a codec that keeps all pictures, and a network."""
IMAGES_A_TASK = 130_000
TASKS = Path(__file__).with_name("cifar100_50_classes.toml")
COMMON: tuple[str, ...] = ("--data", "cifar100", "--tasks", str(TASKS), "--recipe", "fast")
COMMON += ("--state-precision", "int8", "--resume")
WAYS = {"thrift": ("thrift", 1), "memo": ("memo", 1), "longer": ("thrift", 2)}
"""Method, and how often `IMAGES_A_TASK` are shown."""


def measured(way: str, budget_bytes: int, seed: int, run: Path) -> dict[str, Any]:
    """Learn all tasks; what it came to."""
    method, often = WAYS[way]
    length = ("--method", method, "--images-a-task", str(often * IMAGES_A_TASK))
    codec, backbone = AMPLE[budget_bytes]
    bytes_ = ("--budget", str(budget_bytes), "--codec", codec, "--backbone", backbone)
    unmerged = ("--no-merge",) if method == "memo" else ()
    edgecil("train", *COMMON, *length, *bytes_, *unmerged, "--seed", str(seed), "--run", run)
    stages = read_results(run).stages
    accuracies = [stage.whole_accuracy or 0.0 for stage in stages]
    return {
        "accuracies": accuracies,
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "exemplars": stages[-1].exemplars,
        "state_bytes": stages[-1].state_bytes,
        "seconds": round(sum(stage.seconds for stage in stages)),
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: one line a way, means over the seeds."""
    columns = ("average", "last", "exemplars", "state_bytes", "seconds")
    order = list(WAYS)
    rows = sorted(rows, key=lambda row: (row["budget"], order.index(row["way"])))
    return table_of_means(rows, ("budget", "way"), columns, exact=("average", "last"))


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs/second-block"))
    parser.add_argument("--budgets", default=",".join(map(str, AMPLE)))
    parser.add_argument("--seeds", default="1993")
    parser.add_argument("--only", choices=WAYS)
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "second_block")
    for seed in map(int, asked.seeds.split(",")):
        for budget_bytes in map(int, asked.budgets.split(",")):
            for way in [asked.only] if asked.only else WAYS:
                about = {"budget": budget_bytes, "way": way, "seed": seed}
                if not measurements.has(about):
                    run = asked.work / f"{way}-{budget_bytes}-{seed}"
                    measurements.add(about | measured(way, budget_bytes, seed, run))
    measurements.write_table(
        "The first 50 classes of CIFAR-100 in five tasks; ResNet-14 in int8, at 24,684,160 bytes "
        "twice as wide; accuracy in percent, bytes.",
        table,
    )


if __name__ == "__main__":
    main()
