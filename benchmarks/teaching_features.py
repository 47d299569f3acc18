"""Claim: behind a pretrained trunk new classes are told by the trunk's features, not the blocks'.

Bundles of the same run, one with statistics of the trunk's feature map, averaged over its
positions, as the exporter makes them where a trunk comes pretrained and is never trained; the other
with statistics of the blocks' features, which the head takes. The exporter is made to choose by
replacing `features_for_teaching` in this process; whatever else it decides it decides for each.
Then new classes are taught by the device's own code: 5, 20 and 50 pictures each, three draws.
Percent right of old, new and all test pictures of CIFAR-100:

    10 + 4     ten classes in one task, four taught: the first run of `rare_classes.py`
    30 + 10    ten tasks of three classes, ten taught: lite0 of `teaching_bases.py`

both memo behind EfficientNet-Lite0, 50 pictures of each old class, 128 px.

    python benchmarks/teaching_features.py --out benchmarks/results [--bases 10+4] [--work DIR]

prints the table and writes teaching_features.json and .md, with processor and versions. Runs are
kept in --work and trained once.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from edgecil.data import ImageDataset
from edgecil_devices.teaching_facts import OF_BLOCKS, OF_TRUNK
from edgecil_export import export
from edgecil_export.request import ExportRequest
from rare_classes import base_run
from teaching_bases import (
    Device,
    Labels,
    accuracies,
    base_device,
    drawn,
    logits_once_taught,
    measure_bases,
    table_of_accuracies,
    tested_on,
)

COUNTS, DRAWS = (5, 20, 50), (1, 2, 3)
BASES = ("10+4", "30+10")
CHOICE = "edgecil_export.exporter.features_for_teaching"


def run_of(base: str, work: Path, dataset: ImageDataset) -> tuple[Path, Labels]:
    """A base's run, trained if it is not there yet, and the labels of its classes and new ones."""
    if base == "10+4":
        return base_run("draw-1", work, dataset)
    _, labels = base_device("lite0", work, dataset)
    return work / "lite0-run", labels


def exported(run: Path, features: str, folder: Path) -> Device:
    """The run's bundle with statistics of these features."""
    # Of a copy, since a run keeps a record of what it was exported as.
    copy = shutil.copytree(run, folder / f"{features}-run")
    with patch(CHOICE, lambda opened: features):
        return Device(export(copy, folder / features, ExportRequest(teachable=True)).path)


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Export with both features, and teach."""
    run, labels = run_of(base, work, dataset)
    for features in (OF_BLOCKS, OF_TRUNK):
        with tempfile.TemporaryDirectory() as scratch:
            device = exported(run, features, Path(scratch))
            facts, old = device.bundle.manifest.teaching, len(device.classes)
            assert facts is not None
            assert facts.features == features
            labels[:old] = [dataset.classes.index(name) for name in device.classes]
            pictures, truth = tested_on(dataset, labels)
            seen = device.answers(pictures)
            about = {"base": base, "rule": f"of {features}", "decides": facts.rules}
            for count in COUNTS:
                for draw in DRAWS:
                    random = np.random.default_rng(draw)
                    shown = {
                        dataset.classes[c]: drawn(dataset, c, count, random) for c in labels[old:]
                    }
                    (logits,) = logits_once_taught(device, shown, seen)
                    right = accuracies(logits.argmax(axis=1), truth, old)
                    yield about | {"count": count, "draw": draw} | right


ABOUT = (
    "Percent right of old / new / all test pictures, new classes taught with n pictures each by "
    f"statistics of the blocks' features or of the trunk's, means of {len(DRAWS)} draws. Made by "
    "`benchmarks/teaching_features.py`."
)

if __name__ == "__main__":
    measure_bases("teaching_features", BASES, rows_of, table_of_accuracies, ABOUT)
