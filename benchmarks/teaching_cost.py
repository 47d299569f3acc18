"""Claim: a class is taught in a second, and a bundle pays a few kilobytes a class for it.

One thread on this machine, medians of five, a fresh device each time:

    teach        `Classifier.teach` with 20 pictures: they are encoded and written, and synced
    features     the first answer after it, less an ordinary one: the network on these 20 pictures,
                 and what is known of all classes
    network      of that the network alone, on the same pictures
    head again   the closed form made anew with ten taught classes of 20 pictures, which is what
                 one more of them costs

and bytes: what ten classes of 20 pictures each take beside the bundle, pictures, list and features
together; the bundle's `statistics`, and their part of the whole bundle.

    python benchmarks/teaching_cost.py --out benchmarks/results [--bases one,lite0] [--work DIR]

prints the table and writes teaching_cost.json and .md, with processor and versions, of the bases of
`teaching_bases.py`. Runs are kept in --work and trained once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from edgecil.data import ImageDataset
from edgecil_devices.teaching.head import Prototype, TaughtHead
from teaching_bases import (
    BASES,
    OLD,
    ROOM_BYTES,
    Device,
    Pictures,
    base_device,
    drawn,
    measure_bases,
)

THREADS, SHOTS, TIMES = 1, 20, 5


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = perf_counter()
    work()
    return perf_counter() - start


def times(device: Device, pictures: Pictures) -> dict[str, float]:
    """Seconds of teaching these pictures as one class, once."""
    with device.taught() as (classifier, _):
        usual_s = median(seconds(lambda: classifier.predict(pictures[0])) for _ in range(TIMES))
        teach_s = seconds(lambda: classifier.teach("new", list(pictures)))
        first_s = seconds(lambda: classifier.predict(pictures[0]))
        network_s = seconds(lambda: device.answers(pictures))
    return {
        "teach_s": teach_s,
        "features_s": first_s - usual_s,
        "network_s": network_s,
        "usual_s": usual_s,
    }


def head_again_s(device: Device, shown: list[Pictures]) -> float:
    """Seconds of making the head anew, with these classes taught."""
    known = device.known
    prototypes = [
        Prototype(device.answers(some).embedding.astype(np.float64), None) for some in shown
    ]
    return median(seconds(lambda: TaughtHead(known, prototypes)) for _ in range(4 * TIMES))


def overlay_bytes(device: Device, shown: dict[str, Pictures]) -> int:
    """All files of what was taught, the features among them."""
    with device.taught() as (classifier, _):
        for name, some in shown.items():
            classifier.teach(name, list(some), budget_bytes=ROOM_BYTES)
        classifier.predict(next(iter(shown.values()))[0])
        files = [file for file in classifier.overlay.folder.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    device, labels = base_device(base, work, dataset, THREADS)
    random = np.random.default_rng(1)
    shown = {dataset.classes[c]: drawn(dataset, c, SHOTS, random) for c in labels[OLD:]}
    pictures = list(shown.values())
    times(device, pictures[0])  # the first time loads what later ones have
    found = [times(device, pictures[0]) for _ in range(TIMES)]
    statistics, bundle_bytes = device.bundle.manifest.statistics, device.path.stat().st_size
    assert statistics is not None
    yield {
        "base": base,
        "threads": THREADS,
        "size_px": device.bundle.manifest.preprocessing.image_size_px,
        **{name: round(median(one[name] for one in found), 5) for name in found[0]},
        "head_again_s": round(head_again_s(device, pictures), 6),
        "overlay_bytes": overlay_bytes(device, shown),
        "statistics_bytes": statistics.size_bytes,
        "bundle_bytes": bundle_bytes,
        "statistics_percent": round(100 * statistics.size_bytes / bundle_bytes, 2),
    }


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "base": lambda row: str(row["base"]),
    "pictures": lambda row: f"{row['size_px']} px",
    "teach 20, s": lambda row: f"{row['teach_s']:.2f}",
    "features, s": lambda row: f"{row['features_s']:.2f}",
    "network, s": lambda row: f"{row['network_s']:.2f}",
    "head again, ms": lambda row: f"{1000 * row['head_again_s']:.1f}",
    "10 x 20 pictures": lambda row: f"{row['overlay_bytes']:,}",
    "statistics": lambda row: f"{row['statistics_bytes']:,}",
    "bundle": lambda row: f"{row['bundle_bytes']:,}",
    "statistics, %": lambda row: f"{row['statistics_percent']:.2f}",
}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line for each base."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for row in rows:
        yield f"| {' | '.join(told(row) for told in COLUMNS.values())} |"


ABOUT = (
    f"Teaching one class of {SHOTS} pictures with {THREADS} thread of an x86-64 processor, medians "
    f"of {TIMES}, and bytes. Made by `benchmarks/teaching_cost.py`, which says what columns are."
)

if __name__ == "__main__":
    measure_bases("teaching_cost", BASES, rows_of, table, ABOUT)
