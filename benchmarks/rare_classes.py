"""Claim: new classes of few pictures are learned at the workstation though old ones have more.

Ten classes of CIFAR-100 with 50 pictures each are learned as any folder is:

    edgecil train --data FOLDER --budget 5MB --backbone efficientnet-lite0 --method memo \
        --increment 10

and then four more with 5, 20 and 50 pictures each, by `edgecil learn`. Three draws of classes and
pictures, one training each; all test pictures of the fourteen classes. Percent right of old, new
and all, by the head that training leaves:

    before          the ten classes alone, as the first task left them
    with shift      as edgecil learns: log_priors of edgecil.methods.base
    without shift   the same with log_priors replaced, in this process, by zeros

    python benchmarks/rare_classes.py --out benchmarks/results [--bases draw-1,draw-2] [--work DIR]

prints the table and writes rare_classes.json and .md, with processor and versions. Runs are kept in
--work and trained once.
"""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from as_typed import THIN_BLOCKS, edgecil, save_pictures
from edgecil.cli.learn import learn
from edgecil.data import ImageDataset
from teaching_bases import Labels, accuracies, measure_bases, table_of_accuracies

OLD, NEW, PHOTOS, COUNTS = 10, 4, 50, (5, 20, 50)
WORDS = (*THIN_BLOCKS, "--budget", "5MB", "--increment", str(OLD))
DRAWS = {f"draw-{draw}": draw for draw in (1, 2, 3)}
SHIFT = "edgecil.methods.der.log_priors"
"""Where memo, which such a run learns by, looks it up."""


def base_run(name: str, work: Path, dataset: ImageDataset) -> tuple[Path, Labels]:
    """The run of the first ten classes, and the labels of these and of the four that follow."""
    random = np.random.default_rng(DRAWS[name])
    labels = random.permutation(len(dataset.classes))[: OLD + NEW]
    folder, run = work / f"{name}-photos", work / f"{name}-run"
    if not folder.exists():
        save_pictures(dataset, labels[:OLD], PHOTOS, folder, random)
    if not (run / "results.json").exists():
        edgecil("train", "--data", folder, "--run", run, *WORDS)
    return run, labels


def confusion(run: Path) -> tuple[Labels, Labels]:
    """Answers to all test pictures, and the truth."""
    with (run / "confusion.csv").open(newline="") as file:
        counts = np.array([[int(cell) for cell in line] for line in csv.reader(file)])
    truth, answers = np.indices(counts.shape).reshape(2, -1)
    return np.repeat(answers, counts.ravel()), np.repeat(truth, counts.ravel())


def learned(run: Path, photos: Path, *, shift: bool) -> dict[str, float]:
    """What a copy of the run gets right once it has learned a folder."""
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):
        copy = Path(shutil.copytree(run, Path(scratch) / "run"))
        if shift:
            learn(copy, str(photos))
        else:
            with patch(SHIFT, lambda counts: torch.zeros(len(counts))):
                learn(copy, str(photos))
        return accuracies(*confusion(copy), OLD)


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Learn the ten classes of a draw, then the four, in each way."""
    run, labels = base_run(base, work, dataset)
    answers, truth = confusion(run)
    before = round(100 * float(np.mean(answers == truth)), 2)
    for count in COUNTS:
        about = {"base": base, "count": count}
        yield about | {"rule": "before", "old": before}
        with tempfile.TemporaryDirectory() as scratch:
            photos, random = Path(scratch) / "photos", np.random.default_rng(DRAWS[base])
            save_pictures(dataset, labels[OLD:], count, photos, random)
            for rule, shift in (("without shift", False), ("with shift", True)):
                yield about | {"rule": rule} | learned(run, photos, shift=shift)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: means over the draws that were measured."""
    draws = len({row["base"] for row in rows})
    before = mean(row["old"] for row in rows if row["rule"] == "before")
    whole = [row | {"base": f"{OLD} + {NEW} classes"} for row in rows if row["rule"] != "before"]
    yield from table_of_accuracies(whole)
    yield ""
    yield f"Before, the {OLD} classes alone: {before:.1f}. Draws of classes and pictures: {draws}."


ABOUT = (
    f"Percent right of old / new / all test pictures: {NEW} classes of n pictures each learned at "
    f"the workstation after {OLD} of {PHOTOS} (CIFAR-100, memo behind EfficientNet-Lite0), means "
    "over draws. Made by `benchmarks/rare_classes.py`."
)

if __name__ == "__main__":
    measure_bases("rare_classes", DRAWS, rows_of, table, ABOUT)
