"""Claim: the planner's trade-offs, measured on real CIFAR-100: what a byte buys, and where.

Three questions, each with all else held still, on the first 20 classes of the published order:

    backbones   20 classes at once, 3, 10 and 30 epochs, pictures as they are: what a larger network
                gains, and how long it has to be trained for that
    codecs      10 epochs of ResNet-14 with every picture through the codec; the test pictures are
                clean: what a lossy codec costs where it saves no byte
    kept        replay with ResNet-14 in four tasks of five, 12 and 8 epochs, lossless exemplars,
                budgets from 0.7 to 20 MB, the last of which holds all: what it costs to keep a part

    python benchmarks/accuracy_per_byte/tradeoffs.py --out runs/tradeoffs [--seeds 1993,1]

prints the tables and writes them to OUT/tradeoffs.json; from there they went, by hand and rounded,
to edgecil/planning/tradeoffs.toml. Stop it at will; the same command goes on.
"""

import argparse
import json
import os
import tomllib
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from edgecil.data import load_dataset
from edgecil.memory.codecs import codec_named
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run

TASKS = Path(__file__).parents[1] / "cifar100_20_classes.toml"
BACKBONES = ("convnet2", "resnet14", "resnet20", "resnet32", "resnet14x2")
EPOCHS = (3, 10, 30)
CODEC_EPOCHS = 10
CODECS = ("webp:90", "webp:75", "webp:50", "webp:30", "webp:10")
BUDGETS = ("700kB", "1.6MB", "4MB", "20MB")
PICTURES_PER_CLASS = 500


def at_once(out: Path) -> Path:
    """A tasks file with all 20 classes in one task."""
    path = out / "at-once.toml"
    tasks = tomllib.loads(TASKS.read_text())["task"]
    classes = json.dumps([c for t in tasks for c in t["classes"]], allow_nan=False)
    path.write_text(f"[[task]]\nclasses = {classes}\n")
    return path


def trained(folder: Path, **request: Any) -> Run:
    """A run, trained or gone on with."""
    data = os.environ.get("EDGECIL_DATA")
    asked = TrainRequest(
        data="cifar100", data_dir=Path(data) if data else None, method="replay", **request
    )
    train(asked, folder, resume=True)
    return Run(folder)


def accuracies(run: Run) -> list[float]:
    """Percent, after each task."""
    # All classes of CIFAR-100 have test pictures.
    return [round(a, 2) for result in run.stage_results() if (a := result.whole_accuracy)]


def decibels(codec_name: str, pixels: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of pictures (N, S, S, 3) that went through the codec."""
    error = codec_named(codec_name).roundtrip(pixels).astype(np.float64) - pixels
    per_picture = (error**2).mean(axis=(1, 2, 3)).clip(min=1e-3)
    return float((10 * np.log10(255**2 / per_picture)).mean())


def main() -> None:
    """Measure all, and keep every figure as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tradeoffs"))
    parser.add_argument("--seeds", default="1993,1")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    asked.out.mkdir(parents=True, exist_ok=True)
    tasks = at_once(asked.out)
    found: dict[str, dict[str, Any]] = {}
    sample = load_dataset("cifar100", data_dir=Path(os.environ["EDGECIL_DATA"])).train.pixels(
        np.arange(0, 50_000, 50)
    )

    def keep(table: str, key: str, **row: Any) -> None:
        found.setdefault(table, {})[key] = row
        print(table, key, row, flush=True)
        (asked.out / "tradeoffs.json").write_text(
            json.dumps(found, indent=1, allow_nan=False) + "\n"
        )

    def whole(backbone: str, codec: str, epochs: int) -> list[float]:
        """Accuracy with 20 classes at once, one figure a seed."""
        request = {"tasks": tasks, "backbone": backbone, "codec": codec, "precision": "fp16"}
        request |= {"budget": "100MB", "epochs": epochs}
        name = f"{backbone}-{codec.replace(':', '-')}-{epochs}"
        runs = [trained(asked.out / f"{name}-{seed}", seed=seed, **request) for seed in seeds]
        return [accuracies(run)[-1] for run in runs]

    for epochs in EPOCHS:
        for backbone in BACKBONES:
            found_here = whole(backbone, "webp-lossless", epochs)
            keep("backbones", f"{backbone} {epochs}", accuracy=found_here)
    for codec in ("webp-lossless", *CODECS):
        sizes = [len(payload) for payload in codec_named(codec).encode_many(sample)]
        decibel = None if codec_named(codec).lossless else round(decibels(codec, sample), 1)
        found_here = whole("resnet14", codec, CODEC_EPOCHS)
        keep("codecs", codec, accuracy=found_here, bytes=round(mean(sizes)), decibels=decibel)
    for budget in BUDGETS:
        request = {"tasks": TASKS, "backbone": "resnet14", "budget": budget}
        request |= {"codec": "webp-lossless", "precision": "fp16", "first_epochs": 12, "epochs": 8}
        runs = [
            trained(asked.out / f"kept-{budget}-{seed}", seed=seed, **request) for seed in seeds
        ]
        stages = runs[0].stage_results()
        # Task t is learned with what was kept after task t - 1, for each of the classes then known.
        parts = [round(s.exemplars / s.classes / PICTURES_PER_CLASS, 3) for s in stages]
        keep("kept", budget, accuracy=[accuracies(run) for run in runs], parts_after=parts)


if __name__ == "__main__":
    main()
