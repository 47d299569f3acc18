"""Claim: a short training comes to the same with edgecil's loop as with the public code's.

One task, the first ten classes of the published order 1993, ResNet-20, eight epochs with the
learning rate of the papers (0.1, a tenth from epoch 4 and again from 6 on), batches of 128, plain
augmentation. Top-1 accuracy in percent over these classes' 1,000 test pictures:

    edgecil bfloat16    as `edgecil train` trains where the processor computes in bfloat16
    edgecil float32     the same without autocast
    torch's start       float32, with torch's own first weights in place of He et al.'s
    PyCIL               `models/finetune.py` of a checkout (LAMDA-CL/PyCIL), run as it is, with its
                        own network, data pipeline and optimiser; float32

    python benchmarks/first_task.py --out benchmarks/results [--seeds 1,2,3] [--pycil CHECKOUT]

Each also with BatchNorm's running statistics, as the public code keeps them. Prints the table and
writes first_task.json and .md; what is there already is not measured again. The seed is that of
weights and batches, which the two draw differently: only their means can be compared.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from edgecil.data import class_increments, default_data_dir, load_dataset
from edgecil.evaluation.accuracy import predicted_labels
from edgecil.methods.base import classification
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import PhaseRecipe
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import ResidentImages
from edgecil.training.loop import half_precision_pays, train_phase
from measurements import Measurements, Row

CPU = torch.device("cpu")
CLASSES, EPOCHS, MILESTONES = 10, 8, (4, 6)
RECIPE = PhaseRecipe(EPOCHS, 0.1, 5e-4, "steps", tuple(m / EPOCHS for m in MILESTONES))


def edgecil(seed: int, *, halved: bool, torchs_start: bool = False) -> dict[str, float]:
    """Accuracy after edgecil's loop, with measured and with running statistics."""
    data = load_dataset("cifar100")
    order = class_increments(100, None, CLASSES, 1993).tasks[0].classes
    images, labels = [], []
    for split in (data.train, data.test):
        rows = np.flatnonzero(np.isin(split.labels, order))
        place = np.argsort(order)[np.searchsorted(np.sort(order), split.labels[rows])]
        images.append(ResidentImages(split.pixels(rows), place, CPU, mirrors=True))
        labels.append(place)
    torch.manual_seed(seed)
    network = ExpandableNetwork(cut_backbone("resnet20"), CLASSES, mean=data.mean, std=data.std)
    if torchs_start:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
    network.to(memory_format=torch.channels_last)
    phase = Phase("train", RECIPE, classification(network), [network])
    with patch("edgecil.training.loop.half_precision_pays", lambda device: halved):
        epochs = train_phase(network, Lesson([phase]), phase, images[0], seeds=range(EPOCHS))
        for _ in range(EPOCHS):
            next(epochs)
        running = copy.deepcopy(network)
        next(epochs, None)
    found = {"accuracy": network, "running": running}
    return {
        name: float(100 * np.mean(labels[1] == predicted_labels(each, images[1])))
        for name, each in found.items()
    }


def pycil(checkout: Path, seed: int) -> dict[str, float]:
    """Accuracy after the public code's own loop."""
    sys.path.insert(0, str(checkout))
    inc_net, convs, finetune, manager = (
        cast(Any, import_module(name))
        for name in (
            "utils.inc_net",
            "convs.cifar_resnet",
            "models.finetune",
            "utils.data_manager",
        )
    )
    inc_net.resnet32 = convs.resnet20
    finetune.init_epoch, finetune.init_milestones, finetune.num_workers = EPOCHS, [*MILESTONES], 0
    arguments: dict[str, Any] = {
        "convnet_type": "resnet32",
        "memory_size": 2000,
        "device": [CPU],
        "init_cls": CLASSES,
        "increment": CLASSES,
    }
    # It looks for its data in ./data.
    there = Path("data")
    if not there.exists():
        there.symlink_to(default_data_dir().resolve(), target_is_directory=True)
    torch.manual_seed(seed)
    data = manager.DataManager("cifar100", True, 1993, CLASSES, CLASSES)
    learner = finetune.Finetune(arguments)
    learner.incremental_train(data)
    accuracy = learner._compute_accuracy(learner._network, learner.test_loader)
    return {"accuracy": float(accuracy), "running": float(accuracy)}


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown: a line a way, over the seeds."""
    yield "| way | accuracy, % | seeds | with running statistics | seconds |"
    yield "|---|---|---|---|---|"
    for way in dict.fromkeys(row["way"] for row in rows):
        same = [row for row in rows if row["way"] == way]
        values = [row["accuracy"] for row in same]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        told = ", ".join(f"{value:.1f}" for value in values)
        running, seconds = (mean(row[name] for row in same) for name in ("running", "seconds"))
        yield f"| {way} | {mean(values):.1f}{spread} | {told} | {running:.1f} | {seconds:.0f} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--pycil", type=Path)
    asked = parser.parse_args()
    ways: dict[str, Callable[[int], dict[str, float]]] = {
        "edgecil float32": lambda seed: edgecil(seed, halved=False),
        "torch's start": lambda seed: edgecil(seed, halved=False, torchs_start=True),
    }
    if half_precision_pays(CPU):
        ways["edgecil bfloat16"] = lambda seed: edgecil(seed, halved=True)
    if asked.pycil:
        ways["PyCIL"] = lambda seed: pycil(asked.pycil.resolve(), seed)
    measurements = Measurements(asked.out.resolve(), "first_task")
    for seed in map(int, asked.seeds.split(",")):
        for way, measure in ways.items():
            about = {"way": way, "seed": seed}
            if measurements.has(about):
                continue
            started = time.perf_counter()
            row = about | measure(seed)
            measurements.add(row | {"seconds": round(time.perf_counter() - started)})
    measurements.write_table("", table)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()
