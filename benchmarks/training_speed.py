"""How many images a second edgecil's training loop learns from, against the usual loop.

Claim: on two cores, at least four times as many as a plain loop such as public trainers have, with
the same network, batch size and number of images.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --pycil PATH    # a checkout of github.com/LAMDA-CL/PyCIL

- edgecil: `ResidentImages` and `train_phase` as `edgecil train` runs them.
- plain: a picture at a time through PIL and torchvision in the workers of a DataLoader, a blocking
  copy, fp32, contiguous tensors, SGD that is not fused, and the loss and the number of correct
  answers read back after every step.
- PyCIL: the plain loop with the data set, transforms, ResNet-32 and head of the checkout.

Timed are the whole loop, the data alone (batches made and dropped) and the step alone (one batch
that is ready, again and again). Contenders take turns, pass by pass, so that a change of the
machine's pace meets all of them; a first round warms up and is not counted; medians are compared.
What is done once a task and not once an epoch, such as padding the images, is left out.

Factors depend on the processor: its cores, and whether it computes in bfloat16 itself. Hardware,
versions, n and the load before the first pass stand with the results, `results/training_speed.json`
and `.md`. Measure on a machine that does nothing else.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from edgecil.data import Split, default_data_dir
from edgecil.data.cifar100 import IMAGE_SIZE_PX, MEAN, STD, load_cifar100
from edgecil.methods import TaskView, method_named
from edgecil.methods.recipes import recipe_named
from edgecil.networks import BACKBONES, ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import Batch, ResidentImages
from edgecil.pictures.views import Views
from edgecil.training.loop import half_precision_pays, train_phase
from edgecil.training.run import hardware, versions
from edgecil_devices import Preprocessing

CPU = torch.device("cpu")
BATCH = 128
CLASSES = 100
PARTS = ("whole", "data", "step")


@dataclass(frozen=True)
class Contender:
    """A loop over N images and its two parts; each call is one pass."""

    whole: Callable[[], object]
    data: Callable[[], object]
    step: Callable[[], object]


Times = dict[str, dict[str, list[float]]]
"""Images a second of every pass, by part and contender."""


def pictures(count: int, data_dir: Path) -> tuple[str, Split]:
    """CIFAR-100's first pictures if `data_dir` has it, else noise: the time is the same."""
    if (data_dir / "cifar-100-python").is_dir():
        train = load_cifar100(data_dir).train
        return "CIFAR-100", train.subset(np.arange(count) % len(train))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
    split = Split(pixels, rng.integers(0, CLASSES, count), Preprocessing(IMAGE_SIZE_PX))
    return "random pixels", split


def new_network(backbone: str) -> ExpandableNetwork:
    """A trunk, a block and a linear head, as the first task trains them."""
    torch.manual_seed(0)
    return ExpandableNetwork(cut_backbone(backbone), CLASSES, mean=MEAN, std=STD)


@dataclass(frozen=True)
class ReadyBatches:
    """The same batch, already made, for as many steps as `images` take."""

    batch: Batch
    images: int

    def __len__(self) -> int:
        return self.images

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass."""
        return iter([self.batch] * (self.images // batch_size))

    def plain_batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """The protocol wants it; training does not."""
        raise NotImplementedError

    def views(self, crops: int, generator: torch.Generator) -> Views:
        """The protocol wants it; training does not."""
        raise NotImplementedError


def edgecil_loop(learned: Split, backbone: str) -> Contender:
    """Edgecil's own loop, unchanged, in the first task of MEMO."""
    network = new_network(backbone)
    counts = tuple(np.bincount(learned.labels, minlength=CLASSES).tolist())
    task = TaskView(stage=1, first_classes=CLASSES, class_counts=counts, known_classes=0)
    recipe = recipe_named("fast", "memo").adapted(epochs=1, batch_size=BATCH)
    lesson = method_named("memo").prepare(network, task, recipe)
    phase = lesson.phases[0]
    images = ResidentImages(learned.pixels(), learned.labels, CPU, mirrors=True)

    def batches() -> Iterator[Batch]:
        return images.training_batches(BATCH, torch.Generator().manual_seed(0))

    ready = ReadyBatches(next(batches()), len(learned))
    return Contender(
        whole=lambda: list(train_phase(network, lesson, phase, images, seeds=[0])),
        data=lambda: sum(1 for _ in batches()),
        step=lambda: list(train_phase(network, lesson, phase, ready, seeds=[0])),
    )


class PlainSamples(Dataset[tuple[int, Tensor, int]]):
    """A picture at a time through PIL, as public trainers have it."""

    def __init__(self, learned: Split) -> None:
        self._pixels, self._labels = learned.pixels(), learned.labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(IMAGE_SIZE_PX, padding=4),
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


def plain_network(backbone: str) -> nn.Module:
    """The same layers as edgecil's, for pictures that are normalised already."""
    network = new_network(backbone)
    return nn.Sequential(network.trunk, network.blocks[0], network.head)


def plain_loop(samples: Dataset[Any], network: nn.Module, workers: int) -> Contender:
    """The loop of public trainers: `samples` are (index, normalised picture, label)."""
    loader = DataLoader(samples, batch_size=BATCH, shuffle=True, num_workers=workers)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    network.train()

    def train(batches: Iterable[Any]) -> None:
        loss_sum, correct = 0.0, torch.tensor(0)
        for _, inputs, labels in batches:
            inputs, labels = inputs.to(CPU), labels.to(CPU)
            logits = network(inputs)
            loss = F.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            loss_sum += loss.item()
            correct += logits.argmax(dim=1).eq(labels).cpu().sum()

    ready = next(iter(loader))
    return Contender(
        whole=lambda: train(loader),
        data=lambda: sum(1 for _ in loader),
        step=lambda: train([ready] * len(loader)),
    )


class PycilNetwork(nn.Module):
    """PyCIL's ResNet-32 and linear head; its modules answer with dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = importlib.import_module("convs.cifar_resnet").resnet32()
        self.head = importlib.import_module("convs.linears").SimpleLinear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, 32, 32) -> logits (B, C)."""
        logits: Tensor = self.head(self.backbone(images)["features"])["logits"]
        return logits


def pycil_loop(checkout: Path, learned: Split, workers: int) -> Contender:
    """The plain loop with what a checkout of PyCIL brings; nothing of it is copied here."""
    sys.path.insert(0, str(checkout))
    torch.manual_seed(0)
    cifar100 = importlib.import_module("utils.data").iCIFAR100
    transform = transforms.Compose([*cifar100.train_trsf, *cifar100.common_trsf])
    dataset = importlib.import_module("utils.data_manager").DummyDataset
    samples = dataset(learned.pixels(), learned.labels, transform)
    return plain_loop(samples, PycilNetwork(), workers)


def measure(contenders: dict[str, Contender], images: int, repeats: int) -> Times:
    """Images a second of every part of every contender, `repeats` passes each, in turns."""
    found: Times = {part: {name: [] for name in contenders} for part in PARTS}
    for part in PARTS:
        for repeat in range(repeats + 1):
            for name, contender in contenders.items():
                one_pass: Callable[[], object] = getattr(contender, part)
                start = time.perf_counter()
                one_pass()
                if repeat > 0:
                    found[part][name].append(images / (time.perf_counter() - start))
    return found


def table(found: Times) -> str:
    """Median images a second, in brackets how many times as fast edgecil is; Markdown."""
    ours = {part: median(found[part]["edgecil"]) for part in PARTS}
    lines = ["| loop | whole | data alone | step alone |", "|---|---|---|---|"]
    for name in found["whole"]:
        speeds = {part: median(found[part][name]) for part in PARTS}
        cells = [f"{speed:,.0f} ({ours[part] / speed:.2f}x)" for part, speed in speeds.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_results(found: Times, about: dict[str, Any], folder: Path) -> None:
    """Write the results as JSON and as a table."""
    folder.mkdir(parents=True, exist_ok=True)
    content = about | {"images_per_second": found}
    (folder / "training_speed.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    machine = about["hardware"]
    packages = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    text = (
        "# Speed of training\n\n"
        f"Images a second; in brackets, how many times as fast edgecil is. {about['backbone']}, "
        f"batch {BATCH}; medians of {about['repeats']} passes over {about['images']} images "
        f"({about['pictures']}), in turns. {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, {about['workers']} DataLoader workers for the others, "
        f"bfloat16 {'in' if about['bfloat16'] else 'not in'} the processor; {packages}. "
        "Made by `benchmarks/training_speed.py`, which says what is compared.\n\n"
        f"{table(found)}\n"
    )
    (folder / "training_speed.md").write_text(text)


def main() -> None:
    """Measure, print the table and write both result files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20 * BATCH, help="a pass; whole batches")
    parser.add_argument("--repeats", type=int, default=7, help="counted passes of each")
    parser.add_argument("--backbone", choices=list(BACKBONES), default="resnet32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoaders; PyCIL has 8")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="has CIFAR-100?")
    parser.add_argument("--pycil", type=Path, help="a checkout of PyCIL, to be measured too")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    if asked.images < BATCH or asked.images % BATCH:
        parser.error(f"--images is a multiple of {BATCH}")
    if asked.pycil and asked.backbone != "resnet32":
        parser.error("--pycil brings a resnet32; leave out --backbone")

    load = os.getloadavg()[0]
    torch.set_num_threads(asked.threads)
    origin, learned = pictures(asked.images, asked.data)
    contenders = {
        "edgecil": edgecil_loop(learned, asked.backbone),
        "plain": plain_loop(PlainSamples(learned), plain_network(asked.backbone), asked.workers),
    }
    if asked.pycil:
        contenders["PyCIL"] = pycil_loop(asked.pycil, learned, asked.workers)
    found = measure(contenders, len(learned), asked.repeats)
    print(table(found))
    about = {
        "backbone": asked.backbone,
        "batch_size": BATCH,
        "images": len(learned),
        "pictures": origin,
        "repeats": asked.repeats,
        "workers": asked.workers,
        "load_before": load,
        "bfloat16": half_precision_pays(CPU),
        "hardware": hardware(CPU),
        "versions": versions(),
    }
    write_results(found, about, asked.out)


if __name__ == "__main__":
    main()
