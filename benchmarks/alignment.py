"""Claim: in short trainings MEMO had better shift its loss than align its head.

15 classes of CIFAR-100 (drawn by the seed) in tasks of three: memo with ConvNet2, weights in int8,
exemplars in webp:50, recipe `fast`, 20 epochs in the first task.

    rare    500 pictures of each class, 4 epochs; in the end some 50 exemplars of a class are kept
    even    100 pictures of each class, 10 epochs; all of them are kept

Three ways:

    aligned     new rows of the head are brought to the length of the old ones, as published
    neither     nothing is done about it
    shifted     logits are shifted in training by how often each class is seen: what `fast` does

    python benchmarks/alignment.py --out benchmarks/results [--seeds 1993,1994,1995]

prints the table and writes alignment.json and .md, with processor and versions; some five minutes a
run on one core. What is there already is not measured again.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from as_typed import save_pictures
from edgecil.data import load_dataset
from edgecil.methods import METHODS, TaskView
from edgecil.methods.lesson import Lesson
from edgecil.methods.memo import Memo
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork
from edgecil.planning.accounting import encoded_sizes
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from measurements import Measurements

CLASSES, INCREMENT = 15, 3
BACKBONE = "convnet2"


class Aligned(Memo):
    """As published, whatever the recipe."""

    name = "aligned"
    aligns = True

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """As of a recipe that aligns."""
        return super().next_lesson(network, task, replace(recipe, aligns=True))

    def finish(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> None:
        """Likewise, or not at all."""
        if self.aligns:
            super().finish(network, task, replace(recipe, aligns=True))


class Neither(Aligned):
    """Neither aligned nor shifted."""

    name = "neither"
    aligns = False


WAYS: dict[str, type[Memo]] = {"aligned": Aligned, "neither": Neither, "shifted": Memo}


@dataclass(frozen=True)
class Setting:
    """How much there is to learn from, and to keep it in."""

    photos: int
    """Of each class."""
    epochs: int
    """Of every task but the first."""
    exemplar_bytes: int
    """What the budget leaves beside trunk and all blocks."""


SETTINGS = {"rare": Setting(500, 4, 200_000), "even": Setting(100, 10, 500_000)}


def measured(way: str, setting: Setting, seed: int, photos: Path, run: Path) -> dict[str, Any]:
    """Learn all tasks; what it came to."""
    trunk, block = encoded_sizes(BACKBONE, "last", "int8")
    METHODS[way] = WAYS[way]
    request = TrainRequest(
        data=str(photos),
        budget=trunk + CLASSES // INCREMENT * block + setting.exemplar_bytes,
        increment=INCREMENT,
        method=way,
        backbone=BACKBONE,
        precision="int8",
        codec="webp:50",
        recipe="fast",
        epochs=setting.epochs,
        first_epochs=20,
        no_merge=True,
        seed=seed,
    )
    stages = train(request, run, device="cpu")
    accuracies = [stage.accuracy or 0.0 for stage in stages]
    return {
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "exemplars": stages[-1].exemplars,
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: one line a way, means over the seeds and how far these lie apart."""
    yield "| setting | way | n | average | last | exemplars |"
    yield "|---" * 6 + "|"
    for setting, way in dict.fromkeys((row["setting"], row["way"]) for row in rows):
        alike = [row for row in rows if (row["setting"], row["way"]) == (setting, way)]
        cells = [setting, way, str(len(alike))]
        for name in ("average", "last"):
            values = [row[name] for row in alike]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.1f}{spread}")
        cells.append(f"{mean(row['exemplars'] for row in alike):,.0f}")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="1993,1994,1995")
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "alignment")
    dataset = load_dataset("cifar100")
    for seed in map(int, asked.seeds.split(",")):
        for (name, setting), way in product(SETTINGS.items(), WAYS):
            about = {"setting": name, "way": way, "seed": seed}
            if measurements.has(about):
                continue
            with tempfile.TemporaryDirectory() as folder:
                photos, draw = Path(folder) / "photos", np.random.default_rng(seed)
                classes = draw.permutation(len(dataset.classes))[:CLASSES]
                save_pictures(dataset, classes, setting.photos, photos, draw)
                found = measured(way, setting, seed, photos, Path(folder) / "run")
            measurements.add(about | found)
    measurements.write_table(
        "Five tasks of three classes of CIFAR-100; accuracy in percent, mean and "
        "standard deviation over the seeds.",
        table,
    )


if __name__ == "__main__":
    main()
