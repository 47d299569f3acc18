"""Claim: a few photos a class are learned, and the network that is kept is the trained one.

Folders of CIFAR-100's and of Tiny-ImageNet's pictures, 2 to 20 classes with 8 to 200 photos each,
one task, ResNet-14, all test pictures of these classes. Two ways to train:

    as before    the recipe `fast` as it is for thousands of pictures: 20 epochs in whole batches
    suited       the same recipe as it suits the folder (`PhaseRecipe.for_images`)

and three sets of BatchNorm statistics for what was trained:

    running      torch's running means, in which every step counts a tenth: what was kept before
    plain        measured anew on the training pictures as they are
    measured     measured anew on pictures as training shows them: what is kept now

    python benchmarks/small_folders.py --out benchmarks/results [--seeds 1,2] [--tiny FOLDER]

prints the table and writes small_folders.json and .md, with processor and versions. CIFAR-100 is
found as `edgecil train` finds it; --tiny names a folder of Tiny-ImageNet's classes with train/ and
val/ in it. What is there already is not measured again.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import nn

from edgecil.data import ImageDataset, load_dataset
from edgecil.evaluation.accuracy import predicted_labels
from edgecil.methods.base import classification
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import PhaseRecipe, recipe_named
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.layers import batch_norms
from edgecil.pictures.batches import ResidentImages
from edgecil.training.loop import train_phase
from measurements import Measurements, Row

FOLDERS = (
    ("cifar", 2, 8),
    ("cifar", 3, 24),
    ("cifar", 5, 12),
    ("cifar", 10, 20),
    ("cifar", 4, 40),
    ("cifar", 20, 40),
    ("cifar", 10, 100),
    ("cifar", 10, 200),
    ("tiny", 3, 24),
    ("tiny", 10, 20),
    ("tiny", 10, 50),
)
"""Where the pictures are from, how many classes, and how many photos of each."""

CPU = torch.device("cpu")


def pictures(dataset: ImageDataset, classes: int, count: int, seed: int) -> list[ResidentImages]:
    """`count` photos to learn from of each of some classes, and all of their test pictures."""
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(dataset.classes))[:classes]
    found = []
    for split, limit in ((dataset.train, count), (dataset.test, None)):
        rows = [draw.permutation(np.flatnonzero(split.labels == c))[:limit] for c in chosen]
        labels = np.repeat(np.arange(classes), [len(row) for row in rows])
        pixels = split.pixels(np.concatenate(rows))
        found.append(ResidentImages(pixels, labels, CPU, mirrors=dataset.mirrors))
    return found


def plain_statistics(network: ExpandableNetwork, images: ResidentImages) -> ExpandableNetwork:
    """A copy with statistics of the pictures as they are, mixed by class."""
    other = copy.deepcopy(network).train()
    for layer in batch_norms([other]):
        layer.reset_running_stats()
        layer.momentum = None
    whole = torch.cat([pixels for pixels, _ in images.plain_batches(256)])
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for batch in torch.split(whole[order], 128):
            other(batch)
    return other


def accuracy(network: nn.Module, test: ResidentImages) -> float:
    """In percent, over all test pictures."""
    labels = torch.cat([labels for _, labels in test.plain_batches(256)]).numpy()
    assert isinstance(network, ExpandableNetwork)
    return round(float(100 * np.mean(labels == predicted_labels(network, test))), 2)


def trained(
    dataset: ImageDataset,
    train: ResidentImages,
    test: ResidentImages,
    recipe: PhaseRecipe,
    seed: int,
) -> dict[str, float]:
    """Accuracies with the three sets of statistics, and the seconds that training took."""
    torch.manual_seed(seed)
    classes = len(np.unique(torch.cat([labels for _, labels in train.plain_batches(256)]).numpy()))
    parts = cut_backbone("resnet14")
    network = ExpandableNetwork(parts, classes, mean=dataset.mean, std=dataset.std)
    network.to(memory_format=torch.channels_last)
    phase = Phase("train", recipe, classification(network), [network])
    started = time.perf_counter()
    seeds = range(seed, seed + recipe.epochs)
    for report in train_phase(network, Lesson([phase]), phase, train, seeds=seeds):
        if report.epoch == recipe.epochs:
            running = copy.deepcopy(network)
    seconds = round(time.perf_counter() - started, 1)
    return {
        "running": accuracy(running, test),
        "plain": accuracy(plain_statistics(network, train), test),
        "measured": accuracy(network, test),
        "seconds": seconds,
    }


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown: one line a folder, means over the seeds."""
    columns = ["pictures", "classes", "photos", "trained", "epochs x batch"]
    columns += ["running", "plain", "measured", "s"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    keys = ("pictures", "classes", "photos", "trained", "epochs", "batch_size")
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in rows):
        same = [row for row in rows if tuple(row[name] for name in keys) == key]
        where, classes, photos, way, epochs, batch = key
        points = " | ".join(
            f"{mean(float(row[name]) for row in same):.1f}"
            for name in ("running", "plain", "measured", "seconds")
        )
        yield f"| {where} | {classes} | {photos} | {way} | {epochs} x {batch} | {points} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--tiny", type=Path)
    asked = parser.parse_args()
    measurements = Measurements(asked.out, "small_folders")
    datasets = {"cifar": load_dataset("cifar100")}
    if asked.tiny:
        datasets["tiny"] = load_dataset(str(asked.tiny))
    recipe = recipe_named("fast", "memo").first
    for where, classes, photos in (f for f in FOLDERS if f[0] in datasets):
        suited = recipe.for_images(classes * photos)
        for seed in map(int, asked.seeds.split(",")):
            for way, chosen in (("as before", recipe), ("suited", suited)):
                about = {"pictures": where, "classes": classes, "photos": photos, "trained": way}
                about |= {"epochs": chosen.epochs, "batch_size": chosen.batch_size, "seed": seed}
                if measurements.has(about):
                    continue
                train, test = pictures(datasets[where], classes, photos, seed)
                measurements.add(about | trained(datasets[where], train, test, chosen, seed))
    measurements.write_table(f"Accuracy in percent, seeds {asked.seeds}.", table)


if __name__ == "__main__":
    main()
