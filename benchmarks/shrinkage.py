"""Claim: how far a covariance is to be shrunk follows from features and pictures alone.

Classes of CIFAR-100 that a network was not trained on are told apart by the closed form
(`edgecil_devices.closed_form`) of 5 to 100 pictures each, three draws of 5, 10, 30 and, one draw,
all of them, on the features of

    lite0    EfficientNet-Lite0, pretrained, at 128 px: 320 features
    small    ResNet-14, trained for 10 other classes of 200 pictures, at 32 px: 64 features

with the covariance shrunk by the rule, r = F / (F + pictures - classes), and by fixed parts.
Percent right of 50 test pictures a class:

    python benchmarks/shrinkage.py --out benchmarks/results [--work DIR]

prints the table and writes shrinkage.md and .json, with processor and versions. Bundles are kept in
--work and made once.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from as_typed import LITE0
from edgecil.data import ImageDataset, load_dataset
from edgecil.data.datasets import Split
from edgecil_devices.closed_form import ClassStatistics
from measurements import Measurements
from teaching_bases import Device, Floats, Labels, trained_bundle

TRAINED_ON = 10
BASES = {
    "lite0": ((*LITE0, "--image-size", "128"), 5),
    "small": (("--backbone", "resnet14"), 200),
}
"""Words to train with, and pictures of each class."""
WORDS = ("--method", "slda", "--budget", "4MB", "--increment", str(TRAINED_ON))
CLASSES = (5, 10, 30, 90)
PICTURES = (5, 10, 20, 50, 100)
TESTED = 50
DRAWS = 3
FIXED = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def features_of(
    device: Device, split: Split, classes: Labels, most: int, draw: np.random.Generator
) -> Floats:
    """Features (C, most, F) of so many pictures of each class."""
    of_classes = [draw.permutation(np.flatnonzero(split.labels == c))[:most] for c in classes]
    pictures = split.pixels()
    found = [device.answers(pictures[rows]).features for rows in of_classes]
    return np.stack(found).astype(np.float64)


def accuracies(known: Floats, tested: Floats) -> dict[str, float]:
    """Percent right by the rule, and by each fixed part.

    Args:
        known: (C, n, F), to learn from.
        tested: (C, N, F).
    """
    statistics = ClassStatistics.empty(known.shape[-1])
    for label, features in enumerate(known):
        statistics = statistics.added(features, label)
    found = {}
    for name, shrinkage in {"rule": None, **{str(r): r for r in FIXED}}.items():
        rows, biases = statistics.head(shrinkage)
        answers = (tested @ rows.T + biases).argmax(axis=-1)
        found[name] = 100 * float((answers == np.arange(len(known))[:, None]).mean())
    return found


def measured(base: str, dataset: ImageDataset, work: Path) -> Iterator[dict[str, Any]]:
    """A row for each number of classes and pictures."""
    drawn = np.random.default_rng(1993).permutation(len(dataset.classes))
    words, photos = BASES[base]
    old, new = drawn[:TRAINED_ON], drawn[TRAINED_ON:]
    device = Device(trained_bundle(base, (*words, *WORDS), photos, dataset, old, work))
    draw = np.random.default_rng(0)
    known = features_of(device, dataset.train, new, max(PICTURES), draw)
    tested = features_of(device, dataset.test, new, TESTED, draw)
    for count in CLASSES:
        draws = DRAWS if count < len(new) else 1
        seeds = map(np.random.default_rng, range(draws))
        orders = [seed.permutation(len(new))[:count] for seed in seeds]
        for pictures in PICTURES:
            one = [accuracies(known[some, :pictures], tested[some]) for some in orders]
            features = known.shape[-1]
            yield {
                "base": base,
                "features": features,
                "classes": count,
                "pictures": pictures,
                "draws": draws,
                "r": round(features / (features + count * (pictures - 1)), 3),
                "accuracies": {name: round(mean(a[name] for a in one), 2) for name in one[0]},
            }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line each; last, how much the rule loses to the best fixed part of each line."""
    head = ("base", "features", "classes", "pictures", "draws", "r", "rule", *map(str, FIXED))
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        about = [str(row[name]) for name in head[:6]]
        yield f"| {' | '.join((*about, *(f'{a:.1f}' for a in row['accuracies'].values())))} |"
    yield ""
    lost: dict[str, list[float]] = {}
    for row in rows:
        best = max(row["accuracies"][str(r)] for r in FIXED)
        for name, accuracy in row["accuracies"].items():
            lost.setdefault(name, []).append(best - accuracy)
    yield "Points behind the best fixed part of the line:"
    yield ""
    yield f"| | rule | {' | '.join(map(str, FIXED))} |"
    yield "|---" * (len(FIXED) + 2) + "|"
    for name, over in (("on average", mean), ("at most", max)):
        yield f"| {name} | {' | '.join(f'{over(points):.1f}' for points in lost.values())} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "shrinkage")
    dataset = load_dataset("cifar100")
    with tempfile.TemporaryDirectory() as scratch:
        for base in BASES:
            if not measurements.has({"base": base}):
                measurements.add(*measured(base, dataset, asked.work or Path(scratch)))
    measurements.write_table(
        "Percent right of classes that the network was not trained on, by the covariance's r.",
        table,
    )


if __name__ == "__main__":
    main()
