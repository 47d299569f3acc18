"""Claim: ten classes of a few photos are learned best behind a pretrained trunk, in seconds.

Folders of ten classes of CIFAR-100 (drawn by the seed, saved as PNG) with 10 to 200 photos each and
all their test pictures; of Tiny-ImageNet with --tiny, whose figures flatter, since the trunk was
pretrained on pictures like these. What a person would type, by the commands alone:

    scratch     edgecil train --data FOLDER --budget 5MB
    thin        with --backbone efficientnet-lite0 --method memo: a frozen trunk, thin blocks
    copied      and with --cut b14-copied: the copied last stage is the block
    slda        instead with --method slda: the closed-form head, and no pictures are kept
    slda-128    and with --image-size 128, as thin and copied have it, instead of 224

all classes in one task, and in five tasks of two. The last of five comes by `edgecil learn`, so
that the update for it is a file: its bytes are those. Seconds are of training, on what the
processor's other work leaves, and include the test after every task.

    python benchmarks/few_photos.py --out benchmarks/results [--seeds 1993] [--tiny FOLDER]

prints the table and writes few_photos.json and .md, with processor and versions. What is there
already is not measured again, so it can be stopped at any time.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from as_typed import LITE0, THIN_BLOCKS, edgecil, save_pictures
from edgecil.data import ImageDataset, load_dataset
from edgecil.errors import BudgetError
from edgecil.evaluation.results import read_results
from edgecil.training.run import Run
from measurements import Measurements

CLASSES = 10
WAYS: dict[str, tuple[str, ...]] = {
    "scratch": (),
    "thin": THIN_BLOCKS,
    "copied": (*THIN_BLOCKS, "--cut", "b14-copied"),
    "slda": (*LITE0, "--method", "slda"),
    "slda-128": (*LITE0, "--method", "slda", "--image-size", "128"),
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
        "image_size_px": Run(run).settings().image_size_px,
        "average": round(mean(accuracies), 2),
        "last": round(accuracies[-1], 2),
        "nearest_mean_last": results.nearest_mean_accuracies[-1],
        "exemplars": results.stages[-1].exemplars,
        "state_bytes": results.stages[-1].state_bytes,
        "seconds": round(results.seconds, 1),
    }


COLUMNS = {
    "image_size_px": "px",
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
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--budget", help="only the rows with this budget, such as 5MB")
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "few_photos")
    datasets = {"cifar": load_dataset("cifar100")}
    if asked.tiny:
        datasets["tiny"] = load_dataset(str(asked.tiny))
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for case in (one for pictures in datasets for one in cases(pictures, seeds)):
        about = asdict(case)
        wanted = asked.photos in (None, case.photos) and asked.budget in (None, case.budget)
        if measurements.has(about) or not wanted or case.way not in asked.ways:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                row = about | measured(case, datasets[case.pictures], Path(scratch))
            except BudgetError as error:
                row = about | {"error": str(error)}
        measurements.add(row)
    measurements.write_table("Accuracy in percent, sizes in bytes.", table)


if __name__ == "__main__":
    main()
