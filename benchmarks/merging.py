"""Claim: merging blocks costs little, and less than the exemplars that the blocks would push out.

30 classes of CIFAR-100 (drawn by the seed), 100 pictures of each and all test pictures, ten tasks
of three; memo with ConvNet2, blocks in int8, exemplars in webp:50, recipe `fast` with 10 epochs (20
in the first task). At most so many blocks, older ones merged, against a block a task:

    same exemplars   the budget is what the blocks take and 400 kB more: what merging itself costs
    same bytes       the budget is 500 kB, however many blocks: what it brings; beside it thrift,
                     and foster, which grows a pair and compresses it after every task

    python benchmarks/merging.py --out benchmarks/results [--seeds 1993]

prints the table and writes merging.json and .md, with processor and versions. `lost in a merge` is
how far the mean accuracy of the tasks before falls between the end of a task and the end of the
merge that the next one begins with. What is there already is not measured again.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from as_typed import edgecil, save_pictures
from edgecil.data import ImageDataset, load_dataset
from edgecil.evaluation.results import StageResult, read_results
from edgecil.planning.accounting import encoded_sizes
from measurements import Measurements, table_of_means

CLASSES, INCREMENT, PHOTOS = 30, 3, 100
TASKS = CLASSES // INCREMENT
BACKBONE = "convnet2"
BLOCKS = (10, 5, 3, 2)
"""The first is a block a task."""
EXEMPLAR_BYTES, SAME_BYTES = 400_000, 500_000
POINTS = ("average", "last", "lost_in_a_merge")
"""In percent or points."""


@dataclass(frozen=True)
class Case:
    """One run."""

    same: str
    """`exemplars` or `bytes`."""
    method: str
    """`memo`, or what is beside it."""
    blocks: int
    """At most so many."""
    seed: int
    """Draws classes and pictures, and is the run's."""

    @property
    def budget_bytes(self) -> int:
        """What all has to fit in."""
        trunk, block = encoded_sizes(BACKBONE, "last", "int8")
        exemplars = trunk + self.blocks * block + EXEMPLAR_BYTES
        return exemplars if self.same == "exemplars" else SAME_BYTES


def cases(seeds: list[int]) -> Iterator[Case]:
    """All runs, one kind after the other."""
    for seed in seeds:
        for same in ("exemplars", "bytes"):
            for blocks in BLOCKS:
                yield Case(same, "memo", blocks, seed)
        for method in ("thrift", "foster"):
            yield Case("bytes", method, 1, seed)


def measured(case: Case, dataset: ImageDataset, scratch: Path) -> dict[str, Any]:
    """Learn, and what it came to."""
    draw = np.random.default_rng(case.seed)
    classes = draw.permutation(len(dataset.classes))[:CLASSES]
    save_pictures(dataset, classes, PHOTOS, scratch / "photos", draw)
    words: list[str | Path] = ["--data", scratch / "photos", "--increment", str(INCREMENT)]
    words += ["--method", case.method, "--backbone", BACKBONE, "--state-precision", "int8"]
    words += ["--codec", "webp:50", "--seed", str(case.seed)]
    words += ["--epochs", "10", "--first-epochs", "20"]
    if case.method == "memo":
        words += ["--no-merge"] if case.blocks == TASKS else ["--max-blocks", str(case.blocks)]
    run = scratch / "run"
    edgecil("train", *words, "--budget", str(case.budget_bytes), "--run", run)
    stages = read_results(run).stages
    accuracies = [stage.whole_accuracy or 0.0 for stage in stages]
    return {
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "exemplars": stages[-1].exemplars,
        "state_bytes": stages[-1].state_bytes,
        "lost_in_a_merge": mean_lost(stages),
        "seconds": round(sum(stage.seconds for stage in stages)),
    }


def mean_lost(stages: Sequence[StageResult]) -> float | None:
    """Points that the tasks before lose in a merge, the mean over all merges."""
    lost = [
        mean(accuracy or 0.0 for accuracy in stage.merge.before)
        - mean(accuracy or 0.0 for accuracy in stage.merge.after)
        for stage in stages
        if stage.merge
    ]
    return round(mean(lost), 2) if lost else None


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: one line a kind, means over the seeds."""
    columns = ("average", "last", "exemplars", "state_bytes", "lost_in_a_merge", "seconds")
    return table_of_means(rows, ("same", "method", "blocks"), columns, exact=POINTS)


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="1993")
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "merging")
    dataset = load_dataset("cifar100")
    for case in cases([int(seed) for seed in asked.seeds.split(",")]):
        about = asdict(case)
        if measurements.has(about):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            measurements.add(about | measured(case, dataset, Path(scratch)))
    measurements.write_table(
        "Ten tasks of three classes of CIFAR-100 of 100 pictures; accuracy in percent, bytes.",
        table,
    )


if __name__ == "__main__":
    main()
