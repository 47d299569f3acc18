"""What a person does: folders of photos, and commands."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil.data import ImageDataset
from edgecil.errors import BudgetError
from edgecil_devices.bench_measuring import measure

LITE0 = ("--backbone", "efficientnet-lite0")
"""Behind a trunk that comes pretrained."""
THIN_BLOCKS = (*LITE0, "--method", "memo")
"""With a thin block a task; unless told so, few photos are learned by slda there."""


def edgecil(*words: str | Path) -> str:
    """Run a command as a person would; what it prints.

    Raises:
        BudgetError: the budget is too small.
        SystemExit: it failed otherwise, with what it complained of.
    """
    done = subprocess.run(
        [sys.executable, "-m", "edgecil", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
    )
    if done.returncode and "smallest budget that fits" in done.stderr:
        raise BudgetError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"edgecil {' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def latency_ms(bundle: Path, seconds: float) -> float:
    """Milliseconds of a picture on one thread, the median, as `edgecil bench` has it."""
    return measure(bundle, 1, seconds, time.perf_counter()).latency_ms["total"].p50


def save_pictures(
    dataset: ImageDataset,
    classes: NDArray[np.int64],
    photos: int,
    folder: Path,
    draw: np.random.Generator,
    tested: int | None = None,
) -> None:
    """Folders of PNG files, train/ and test/: so many photos of each class, None for all."""
    for split, name, limit in (
        (dataset.train, "train", photos),
        (dataset.test, "test", tested),
    ):
        for label in classes:
            rows = draw.permutation(np.flatnonzero(split.labels == label))[:limit]
            place = folder / name / dataset.classes[label]
            place.mkdir(parents=True)
            for number, pixels in enumerate(split.pixels(rows)):
                Image.fromarray(pixels).save(place / f"{number:04}.png")
