"""Claim: taught five pictures a class, a device starts below published learners, and loses less.

Their networks are trained for this, and for hundreds of epochs on a graphics card; the base here is
trained like any other, for twenty on a processor.

The protocol of few-shot class-incremental learning on CIFAR-100 (Tao et al., CVPR 2020): 60 classes
with all their 500 pictures, then eight sessions of 5 classes with 5 pictures each, and after every
session the accuracy over all test pictures of the classes so far. The base is trained and exported
as a person would; the sessions are the device's own code on the bundle, closed form, without torch.
Classes come in the order of their labels, as in CEC's code; the pictures are drawn three times.

    scratch    edgecil train --backbone resnet20 --method replay, the 60 classes in one task
    lite0      edgecil train --backbone efficientnet-lite0 --method memo, pretrained on ImageNet:
               not to be ranked with the published ones, which all start from random weights

    python benchmarks/few_shot.py --out benchmarks/results [--bases scratch,lite0] [--work DIR]

prints the table and writes few_shot.json and .md, with processor and versions. Runs are kept in
--work and trained once. Published numbers are those of the papers, as the leaderboard of the
repository yananlix1/few-shot-class-incremental-learning-leaderboard has them.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from as_typed import THIN_BLOCKS
from edgecil.data import ImageDataset
from teaching_bases import Device, drawn, measure_bases, tested_on, trained_bundle

BASE, STEP, SHOTS, DRAWS = 60, 5, 5, (1, 2, 3)
BASES = {
    "scratch": ("--backbone", "resnet20", "--method", "replay", "--epochs", "20"),
    "lite0": THIN_BLOCKS,
}
PICTURES = 500
"""Of each base class, in training."""

PUBLISHED = {  # session 0, session 8, average of all nine
    "CEC, ResNet-20 (CVPR 2021)": (73.07, 49.14, 59.53),
    "FACT, ResNet-20 (CVPR 2022)": (74.60, 52.10, 62.24),
    "SAVC, ResNet-20 (CVPR 2023)": (78.77, 53.12, 63.63),
    "WaRP, ResNet-20 (ICLR 2023)": (80.31, 54.74, 65.82),
    "NC-FSCIL, ResNet-12 (ICLR 2023)": (82.52, 56.11, 67.50),
}


def sessions(
    base: str, device: Device, dataset: ImageDataset, draw: int
) -> Iterator[dict[str, Any]]:
    """A row for each session."""
    labels = [*map(dataset.classes.index, device.classes), *range(BASE, len(dataset.classes))]
    pictures, truth = tested_on(dataset, labels)
    seen = device.answers(pictures)
    random = np.random.default_rng(draw)
    with device.taught() as (classifier, teacher):
        for session, known in enumerate(range(BASE, len(labels) + 1, STEP)):
            for c in labels[known - STEP : known] if session else []:
                shown = drawn(dataset, c, SHOTS, random)
                classifier.teach(dataset.classes[c], list(shown))
            now = truth < known
            logits, _ = teacher.logits(seen.embedding[now], seen.logits[now])
            right = logits.argmax(axis=1) == truth[now]
            old = truth[now] < BASE
            yield {
                "base": base,
                "draw": draw,
                "session": session,
                "accuracy": round(100 * float(right.mean()), 2),
                "base_classes": round(100 * float(right[old].mean()), 2),
                "new_classes": round(100 * float(right[~old].mean()), 2) if session else None,
            }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: every session, means over the draws, and what was published."""
    count = 1 + max(row["session"] for row in rows)
    yield f"| | {' | '.join(map(str, range(count)))} | average |"
    yield "|---" * (count + 2) + "|"
    for base in dict.fromkeys(row["base"] for row in rows):
        for part in ("accuracy", "base_classes", "new_classes"):
            means = []
            for session in range(count):
                same = [r for r in rows if (r["base"], r["session"]) == (base, session)]
                values = [row[part] for row in same if row[part] is not None]
                means.append(mean(values) if values else None)
            cells = ["-" if one is None else f"{one:.1f}" for one in means]
            told = [one for one in means if one is not None]
            whole = f"{mean(told):.2f}" if part == "accuracy" else ""
            yield f"| {base}, {part.replace('_', ' ')} | {' | '.join(cells)} | {whole} |"
    for name, (first, last, average) in PUBLISHED.items():
        cells = [f"{first:.1f}", *["" for _ in range(count - 2)], f"{last:.1f}"]
        yield f"| published: {name} | {' | '.join(cells)} | {average:.2f} |"


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    words = ("--increment", str(BASE), "--budget", "8MB", *BASES[base])
    path = trained_bundle(base, words, PICTURES, dataset, np.arange(BASE), work)
    device = Device(path)
    for draw in DRAWS:
        yield from sessions(base, device, dataset, draw)


ABOUT = (
    "Accuracy in percent over the test pictures of all classes so far, by session; "
    f"means of {len(DRAWS)} draws of the pictures, one network each."
)

if __name__ == "__main__":
    measure_bases("few_shot", BASES, rows_of, table, ABOUT)
