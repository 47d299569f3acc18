"""Claim: ten classes of a few photos are learned best behind a pretrained trunk, in seconds.

Folders of ten classes of CIFAR-100 (drawn by the seed, saved as PNG) with 10 to 200 photos each and
all their test pictures; of Tiny-ImageNet with --tiny, whose figures flatter, since the trunk was
pretrained on pictures like these. What a person would type, by the commands alone:

    scratch     edgecil train --data FOLDER --budget 5MB
    thin        the same with --backbone efficientnet-lite0: a frozen trunk, a thin block a task
    copied      the same with --cut b14-copied: the copied last stage is the block
    slda        the same with --method slda: the closed-form head, and no pictures are kept

all classes in one task, and in five tasks of two. The last of five comes by `edgecil learn`, so
that the update for it is a file: its bytes are those. Seconds are of training, on what the
processor's other work leaves, and include the test after every task.

    python benchmarks/few_photos.py --out benchmarks/results [--seeds 1993] [--tiny FOLDER]

prints the table and writes few_photos.json and .md, with processor and versions. What is there
already is not measured again, so it can be stopped at any time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgecil.data import ImageDataset, load_dataset
from edgecil.errors import BudgetError
from edgecil.evaluation.results import read_results
from edgecil.training.run import hardware, versions

CLASSES = 10
LITE0 = ("--backbone", "efficientnet-lite0")
WAYS: dict[str, tuple[str, ...]] = {
    "scratch": (),
    "thin": LITE0,
    "copied": (*LITE0, "--cut", "b14-copied"),
    "slda": (*LITE0, "--method", "slda"),
}
"""What is added to the plain command."""

SCRATCH_BACKBONE = ("--backbone", "resnet14")
"""So that the plain command stays from scratch where the extra is installed."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    pictures: str
    """`cifar` or `tiny`."""
    photos: int
    """Of each class, to learn from."""
    way: str
    """A name of `WAYS`."""
    tasks: int
    """1, or 5 of two classes each."""
    budget: str
    """As `--budget` takes it."""
    seed: int
    """Draws the classes and their photos, and is the run's."""


def cases(pictures: str, seeds: Iterable[int]) -> Iterator[Case]:
    """All rows: every number of photos at 5 MB, and 50 photos at other budgets, too."""
    for seed in seeds:
        for photos, budget in ((50, "5MB"), (20, "5MB"), (10, "5MB"), (50, "2MB"), (50, "10MB")):
            for way in WAYS:
                yield Case(pictures, photos, way, 5, budget, seed)
                yield Case(pictures, photos, way, 1, budget, seed)
        for way in WAYS:
            yield Case(pictures, 200, way, 5, "5MB", seed)
            yield Case(pictures, 200, way, 1, "5MB", seed)


def save_pictures(
    dataset: ImageDataset,
    classes: NDArray[np.int64],
    photos: int,
    folder: Path,
    draw: np.random.Generator,
) -> None:
    """Folders of PNG files: train/, with so many photos of each class, and test/, with all."""
    for split, name, limit in (
        (dataset.train, "train", photos),
        (dataset.test, "test", None),
    ):
        for label in classes:
            rows = draw.permutation(np.flatnonzero(split.labels == label))[:limit]
            place = folder / name / dataset.classes[label]
            place.mkdir(parents=True)
            for number, pixels in enumerate(split.pixels(rows)):
                Image.fromarray(pixels).save(place / f"{number:04}.png")


def edgecil(*words: str | Path) -> str:
    """Run a command as a person would; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "edgecil", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
    )
    if "smallest budget that fits" in done.stderr:
        raise BudgetError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"edgecil {' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def apart(folder: Path, classes: list[str], other: Path) -> Path:
    """Move `classes` of a folder into another, to be learned later."""
    for split in ("train", "test"):
        (other / split).mkdir(parents=True)
        for name in classes:
            (folder / split / name).rename(other / split / name)
    return other


def measured(case: Case, dataset: ImageDataset, scratch: Path) -> dict[str, Any]:
    """Learn, export, and make the update; what each came to."""
    photos, run = scratch / "photos", scratch / "run"
    draw = np.random.default_rng(case.seed)
    classes = draw.permutation(len(dataset.classes))[:CLASSES]
    save_pictures(dataset, classes, case.photos, photos, draw)
    added = WAYS[case.way] or SCRATCH_BACKBONE
    train: list[str | Path] = ["train", "--data", photos, "--budget", case.budget]
    train += ["--seed", str(case.seed), "--run", run, *added]
    found: dict[str, Any] = {}
    if case.tasks == 1:
        edgecil(*train, "--increment", str(CLASSES))
    else:
        later = apart(photos, [dataset.classes[c] for c in classes[-2:]], scratch / "later")
        edgecil(*train, "--increment", "2", "--tasks-ahead", "1")
        edgecil("export", run, "--out", scratch / "before.edgecil", "--weights", "int8")
        edgecil("learn", run, "--data", later)
        edgecil("update", run, "--since", scratch / "before.edgecil", "--out", scratch / "update")
        found["update_bytes"] = (scratch / "update").stat().st_size
    for weights in ("fp32", "int8"):
        bundle = scratch / f"{weights}.edgecil"
        edgecil("export", run, "--out", bundle, "--weights", weights)
        found[f"{weights}_bundle_bytes"] = bundle.stat().st_size
    results = read_results(run)
    accuracies = [accuracy or float("nan") for accuracy in results.accuracies]
    return found | {
        "backbone": results.backbone,
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "nearest_mean_last": results.nearest_mean_accuracies[-1],
        "exemplars": results.stages[-1].exemplars,
        "state_bytes": results.stages[-1].state_bytes,
        "seconds": round(results.seconds, 1),
    }


COLUMNS = {
    "average": "average",
    "last": "last",
    "exemplars": "exemplars",
    "state_bytes": "state",
    "int8_bundle_bytes": "bundle, int8",
    "update_bytes": "update, int8",
    "seconds": "s",
}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: one line a case, means over the seeds."""
    keys = ("pictures", "photos", "tasks", "budget", "way")
    yield f"| {' | '.join((*keys, 'n', *COLUMNS.values()))} |"
    yield "|---" * (len(keys) + 1 + len(COLUMNS)) + "|"
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in rows):
        same = [row for row in rows if tuple(row[name] for name in keys) == key]
        figures = [_figure(column, [row.get(column) for row in same]) for column in COLUMNS]
        yield f"| {' | '.join(map(str, (*key, len(same), *figures)))} |"


def _figure(column: str, values: list[float | None]) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    tenths = column in ("average", "last", "seconds")
    return f"{mean(there):.1f}" if tenths else f"{mean(there):,.0f}"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="1993")
    parser.add_argument("--tiny", type=Path)
    parser.add_argument("--photos", type=int, help="only the rows with so many photos a class")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "few_photos.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    datasets = {"cifar": load_dataset("cifar100")}
    if asked.tiny:
        datasets["tiny"] = load_dataset(str(asked.tiny))
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for case in (one for pictures in datasets for one in cases(pictures, seeds)):
        about = asdict(case)
        known = any(about.items() <= row.items() for row in rows)
        if known or asked.photos not in (None, case.photos):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                rows.append(about | measured(case, datasets[case.pictures], Path(scratch)))
            except BudgetError as error:
                rows.append(about | {"error": str(error)})
        print(rows[-1], flush=True)
        told = {"hardware": hardware(torch.device("cpu")), "versions": versions(), "rows": rows}
        file.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    lines = "\n".join(table(rows))
    print(lines)
    file.with_suffix(".md").write_text(f"Accuracy in percent, sizes in bytes.\n\n{lines}\n")


if __name__ == "__main__":
    main()
