"""How fast edgecil's training loop is beside the loop that public trainers have.

Claim: on two cores, at least four times the images a second of a plain loop: PIL and torchvision
transforms a sample in a DataLoader's workers, fp32, the loss read at every step. Same ResNet-32,
same batch of 128, same number of images.

    python benchmarks/training_speed.py                      # about five minutes on two cores
    python benchmarks/training_speed.py --pycil PATH         # also PyCIL's own data and network

PATH is a checkout of LAMDA-CL/PyCIL; its code is imported from there. Contestants take turns, one
pass each, and the medians of the repetitions are compared. "data" is the input pipeline alone,
"step" the training step alone on a batch that is ready. Pictures are random: what they show does
not change the time. Hardware, versions and n are written into the results.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from edgecil.methods import TaskView, method_named
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.training.batches import ResidentImages
from edgecil.training.loop import train_phase
from edgecil.training.recipes import recipe_named
from edgecil.training.run import hardware, versions

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
BATCH, CLASSES = 128, 10
RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")

Passes = dict[str, Callable[[], float]]
"""By "whole", "data" and "step": one pass, and the images a second it came to."""


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels (N, 32, 32, 3) uint8 and labels (N,) int64."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return pixels, draw.integers(0, CLASSES, count).astype(np.int64)


def network() -> ExpandableNetwork:
    """ResNet-32 with a linear head, as MEMO's first task trains it."""
    torch.manual_seed(0)
    return ExpandableNetwork(cut_backbone("resnet32"), CLASSES, mean=MEAN, std=STD)


def per_second(count: int, work: Callable[[], object]) -> float:
    """Images a second of `work` on `count` images."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def edgecil_passes(pixels: np.ndarray, labels: np.ndarray) -> Passes:
    """Edgecil's own loop, unchanged."""
    net, images = network(), ResidentImages(pixels, labels, CPU, mirrors=True)
    few = ResidentImages(pixels[:BATCH], labels[:BATCH], CPU, mirrors=True)
    recipe = recipe_named("fast").adapted(epochs=1, batch_size=BATCH)
    (phase,) = method_named("memo").prepare(net, TaskView(1, 0, CLASSES, CLASSES), recipe)

    def whole() -> float:
        (report,) = train_phase(net, phase, images, seeds=[0])
        return report.images_per_second

    def data() -> float:
        batches = images.training_batches(BATCH, torch.Generator().manual_seed(0))
        return per_second(len(labels), lambda: sum(len(y) for _, y in batches))

    def step() -> float:
        repeated = recipe_named("fast").adapted(epochs=len(labels) // BATCH, batch_size=BATCH)
        again = type(phase)(phase.name, repeated.first, phase.loss)
        reports = train_phase(net, again, few, seeds=[0] * repeated.first.epochs)
        return statistics.median(report.images_per_second for report in reports)

    return {"whole": whole, "data": data, "step": step}


class PlainSamples(Dataset[tuple[int, Tensor, int]]):
    """One picture at a time through PIL, as public trainers have it."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self._pixels, self._labels = pixels, labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(brightness=63 / 255),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[int, Tensor, int]:
        picture = self._transform(Image.fromarray(self._pixels[index]))
        return index, picture, int(self._labels[index])


class PlainNetwork(nn.Module):
    """The same ResNet-32 on pictures that are normalised already."""

    def __init__(self) -> None:
        super().__init__()
        whole = network()
        self.layers = nn.Sequential(whole.trunk, whole.blocks[0], whole.head)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, 32, 32) -> logits (B, C)."""
        logits: Tensor = self.layers(images)
        return logits


def plain_passes(samples: Dataset[Any], net: nn.Module, count: int, workers: int) -> Passes:
    """The plain loop: fp32, one value read back for the loss and one for the accuracy a step."""
    loader = DataLoader(samples, batch_size=BATCH, shuffle=True, num_workers=workers)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    net.train()

    def train(batches: Iterator[Any]) -> None:
        losses, correct = 0.0, 0
        for _, images, labels in batches:
            logits = net(images.to(CPU))
            loss = F.cross_entropy(logits, labels.to(CPU))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses += loss.item()
            correct += int(logits.max(dim=1)[1].eq(labels).cpu().sum())

    ready = next(iter(loader))
    return {
        "whole": lambda: per_second(count, lambda: train(iter(loader))),
        "data": lambda: per_second(count, lambda: sum(len(y) for _, _, y in loader)),
        "step": lambda: per_second(
            count // BATCH * BATCH, lambda: train(iter([ready] * (count // BATCH)))
        ),
    }


def pycil_passes(path: Path, pixels: np.ndarray, labels: np.ndarray, workers: int) -> Passes:
    """PyCIL's own data set, transforms and ResNet-32, imported from a checkout."""
    sys.path.insert(0, str(path))
    from convs.cifar_resnet import resnet32  # type: ignore[import-not-found]
    from utils.data import iCIFAR100  # type: ignore[import-not-found]
    from utils.data_manager import DummyDataset  # type: ignore[import-not-found]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = resnet32(), nn.Linear(64, CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(self.backbone(images)["features"])
            return logits

    transform = transforms.Compose([*iCIFAR100.train_trsf, *iCIFAR100.common_trsf])
    return plain_passes(DummyDataset(pixels, labels, transform), Net(), len(labels), workers)


def measure(contestants: dict[str, Passes], repeats: int) -> dict[str, dict[str, float]]:
    """Median images a second of every part of every contestant; they take turns."""
    found: dict[str, dict[str, list[float]]] = {
        name: {part: [] for part in passes} for name, passes in contestants.items()
    }
    for repeat in range(repeats + 1):
        for name, passes in contestants.items():
            for part, one_pass in passes.items():
                speed = one_pass()
                if repeat:  # the first round warms up
                    found[name][part].append(speed)
    return {
        name: {part: statistics.median(speeds) for part, speeds in parts.items()}
        for name, parts in found.items()
    }


def table(medians: dict[str, dict[str, float]]) -> str:
    """The medians as a Markdown table, with factors against edgecil."""
    ours = medians["edgecil"]["whole"]
    lines = [
        "| loop | images/s | edgecil is faster by | data alone | step alone |",
        "|---|---|---|---|---|",
    ]
    for name, parts in medians.items():
        factor = f"{ours / parts['whole']:.1f}x" if name != "edgecil" else ""
        lines.append(
            f"| {name} | {parts['whole']:.0f} | {factor} | {parts['data']:.0f} "
            f"| {parts['step']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table and write both result files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2560, help="images a pass")
    parser.add_argument("--repeats", type=int, default=5, help="counted passes of each")
    parser.add_argument("--workers", type=int, default=2, help="DataLoader processes of the others")
    parser.add_argument("--pycil", type=Path, help="a checkout of LAMDA-CL/PyCIL")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    asked = parser.parse_args()

    pixels, labels = pictures(asked.images)
    plain = plain_passes(PlainSamples(pixels, labels), PlainNetwork(), asked.images, asked.workers)
    contestants = {"edgecil": edgecil_passes(pixels, labels), "plain": plain}
    if asked.pycil:
        contestants["PyCIL"] = pycil_passes(asked.pycil, pixels, labels, asked.workers)
    medians = measure(contestants, asked.repeats)

    about = {
        "images": asked.images,
        "repeats": asked.repeats,
        "workers": asked.workers,
        "batch_size": BATCH,
        "backbone": "resnet32",
        "pictures": "random pixels, seed 0",
        "hardware": hardware(CPU),
        "versions": versions(),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    record = json.dumps(about | {"images_per_second": medians}, indent=1) + "\n"
    (asked.out / "training_speed.json").write_text(record)
    processor, cores = about["hardware"]["processor"], about["hardware"]["cores"]
    head = (
        f"Median of {asked.repeats} passes over {asked.images} images in turns, ResNet-32, batch "
        f"{BATCH}, {processor}, {cores} cores, torch {about['versions']['torch']}, "
        f"{asked.workers} DataLoader workers.\n\n"
    )
    (asked.out / "training_speed.md").write_text(head + table(medians))
    print(table(medians), end="")


if __name__ == "__main__":
    main()
