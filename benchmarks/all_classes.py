"""Claim: all 100 classes of CIFAR-100 are learned under 5 MB behind a pretrained trunk.

CIFAR-100 as photos: folders of PNG files, all test pictures, 50 training pictures of each class or
all 500; ten tasks of ten classes in the order of seed 1993; EfficientNet-Lite0, which knows
ImageNet already; 5 MB, and the smallest published budget, 7,998,016 bytes. `memo` adds a thin block
a task and sees pictures at 128 px, `slda` keeps none and sees them at 224. What a person would
type, by the commands alone.

Published curves of the same tasks and bytes start from scratch, so they stand in a table of their
own: the two are no ranking.

    python benchmarks/all_classes.py --out benchmarks/results [--only 50] [--methods slda]
                                     [--work DIR]

prints the tables and writes all_classes.json and .md, with processor and versions. What is there
already is not measured again; with --work photos and runs are kept there, and a run that was
stopped is gone on with. With 50 pictures `slda` took nine minutes and `memo` 48, each on a core
that other work shared; all are ten times as many.
"""

import argparse
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from as_typed import LITE0, edgecil, save_pictures
from edgecil.data import load_dataset
from edgecil.errors import BudgetError
from edgecil.evaluation.results import read_results
from edgecil.published import published_accuracies, published_at
from measurements import Measurements

PUBLISHED_BYTES = 7_998_016
BUDGETS = {"5 MB": "5MB", "7,998,016": str(PUBLISHED_BYTES)}
METHODS = ("memo", "slda")
PHOTOS = (50, 500)


def measured(photos: Path, method: str, budget: str, run: Path) -> dict[str, Any]:
    """Learn and export; what it came to."""
    bundle = run.with_suffix(".edgecil")
    words = ("--data", photos, "--budget", budget, "--method", method, "--increment", "10")
    edgecil("train", *words, "--run", run, "--resume", *LITE0)
    edgecil("export", run, "--out", bundle, "--weights", "int8")
    results = read_results(run)
    accuracies = [stage.whole_accuracy or 0.0 for stage in results.stages]
    return {
        "accuracies": accuracies,
        "average": round(float(np.mean(accuracies)), 2),
        "last": round(accuracies[-1], 2),
        "exemplars": results.stages[-1].exemplars,
        "state_bytes": results.stages[-1].state_bytes,
        "bundle_bytes": bundle.stat().st_size,
        "seconds": round(results.seconds),
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: ours, and what is published at these bytes from scratch."""
    head = ("pictures a class", "budget", "method", "average", "last", "exemplars", "state")
    yield f"| {' | '.join((*head, 'bundle, int8', 's'))} |"
    yield "|---" * 9 + "|"
    for row in rows:
        cells = [row["photos"], row["budget"], f"{row['method']}, pretrained trunk"]
        if "error" in row:
            yield f"| {' | '.join(map(str, cells))} | {row['error']} | | | | | |"
            continue
        sizes = [f"{row[name]:,}" for name in ("exemplars", "state_bytes", "bundle_bytes")]
        cells += [f"{row['average']:.1f}", f"{row['last']:.1f}", *sizes, row["seconds"] or "-"]
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield (
        "Published for the same ten tasks and all pictures, from scratch, which is another start "
        "and not to be ranked with the rows above; 7.6 MiB as the papers count:"
    )
    yield ""
    yield "| method | average | last | source |"
    yield "|---|---|---|---|"
    for one in published_at(published_accuracies("cifar100-b0-inc10"), PUBLISHED_BYTES / 2**20):
        average = "-" if one.average is None else f"{one.average:.2f}"
        yield f"| {one.method} | {average} | {one.last:.2f} | {one.source} |"


def main() -> None:
    """Measure what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", type=int, help="pictures a class")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "all_classes")
    dataset = load_dataset("cifar100")
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for photos in (asked.only,) if asked.only else PHOTOS:
            folder = work / f"photos-{photos}"
            if not folder.exists():
                draw = np.random.default_rng(1993)
                with tempfile.TemporaryDirectory(dir=work) as whole:
                    save_pictures(dataset, np.arange(100), photos, Path(whole) / "photos", draw)
                    (Path(whole) / "photos").rename(folder)
            for (budget, words), method in product(BUDGETS.items(), asked.methods):
                about = {"photos": photos, "budget": budget, "method": method}
                if measurements.has(about):
                    continue
                run = work / f"{method}-{photos}-{words}"
                try:
                    row = about | measured(folder, method, words, run)
                except BudgetError as error:
                    row = about | {"error": str(error)}
                measurements.add(row)
    measurements.write_table(
        "CIFAR-100 as photos, ten tasks of ten classes; accuracy in percent, bytes.", table
    )


if __name__ == "__main__":
    main()
