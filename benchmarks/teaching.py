"""Claim: a device is taught new classes from a few pictures, beside those that it was trained on.

30 classes of CIFAR-100 that a bundle knows and 10 that the device is taught with 5, 20 and 50
pictures each; all test pictures of these classes; three draws of the pictures. Everything but the
training is the device's own code on an exported bundle. Accuracy in percent over old, new and all
test pictures, of the rules

    as exported   the trained head, which knows none of the new classes
    imprint       a new row is the class's mean, as long as the old rows are on average
    nearest mean  cosine to the nearest of all means, the old ones from exemplars (SimpleCIL)
    slda          one covariance and means as they come, shrunk by 1e-4 (Hayes and Kanan, 2020)
    pycoral       unit features, a new row is their mean of unit length, old rows scaled to unit
                  length (weight imprinting of google-coral/pycoral)
    ours          `Classifier.teach`

of these bases, each exported with --teachable:

    one block     ResNet-14, memo, all 30 classes in one task
    ten blocks    ResNet-14, memo, ten tasks of three classes
    lite0         EfficientNet-Lite0, memo, ten tasks of three classes, 128 px, 50 pictures each

    python benchmarks/teaching.py --out benchmarks/results [--bases one,lite0] [--work DIR]

prints the table and writes teaching.json and .md, with processor and versions. Runs are kept in
--work and trained once.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgecil.data import ImageDataset, load_dataset
from edgecil.training.run import hardware, versions
from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from edgecil_devices.images import read_pixels
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.statistics import unpacked
from edgecil_devices.teaching.teacher import Teacher
from edgecil_devices.teaching.teaching import Teaching
from few_photos import save_pictures

OLD, NEW, COUNTS, DRAWS = 30, 10, (5, 20, 50), (1, 2, 3)
BASES = {
    "one": ("--backbone", "resnet14", "--increment", "30", "--budget", "4MB"),
    "ten": ("--backbone", "resnet14", "--increment", "3", "--budget", "7MB"),
    "lite0": ("--backbone", "efficientnet-lite0", "--increment", "3", "--budget", "8MB"),
}
PHOTOS = {"one": 500, "ten": 500, "lite0": 50}
"""Pictures of each old class that the base is trained on."""

Floats = NDArray[np.float64]
Rule = Callable[["Answers"], Floats]
"""N pictures -> scores (N, C) of old and new classes."""


def trained_bundle(
    name: str,
    words: Sequence[str],
    photos: int,
    dataset: ImageDataset,
    classes: NDArray[np.int64],
    work: Path,
) -> Path:
    """The bundle of a base, trained with `words` and exported if it is not there yet.

    Args:
        name: of the base.
        words: added to the command that trains.
        photos: pictures of each class.
        dataset: has them.
        classes: their labels.
        work: where everything is kept.
    """
    folder, run, bundle = (work / f"{name}{end}" for end in ("-photos", "-run", ".edgecil"))
    if not folder.exists():
        save_pictures(dataset, classes, photos, folder, np.random.default_rng(0))
    if not bundle.exists():
        for verb in (
            ["train", "--data", folder, "--run", run, "--resume", *words],
            ["export", run, "--out", bundle, "--teachable"],
        ):
            subprocess.run([sys.executable, "-m", "edgecil", *map(str, verb)], check=True)
    return bundle


class Answers(NamedTuple):
    """What a bundle makes of N pictures."""

    embedding: NDArray[np.float32]
    """(N, E), what it is taught by."""
    logits: NDArray[np.float32]
    """(N, C), of the trained head."""
    features: NDArray[np.float32]
    """(N, F), what that head takes."""


class Device:
    """A bundle as a device runs it.

    Args:
        path: of the bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bundle = path, read_bundle(path)
        self.classes = self.bundle.manifest.classes
        self._runtime = Runtime(self.bundle, 2)
        self.head = tuple(part.astype(np.float64) for part in self._runtime.head)

    def answers(self, pictures: NDArray[np.uint8]) -> "Answers":
        """What it makes of pictures (N, H, W, 3)."""
        found = []
        for start in range(0, len(pictures), 32):
            some = pictures[start : start + 32]
            pixels = [read_pixels(one, self.bundle.manifest.preprocessing) for one in some]
            inference = self._runtime.run(np.stack(pixels))
            found.append((inference.embedding, inference.logits, inference.features))
        return Answers(*(np.concatenate(part) for part in zip(*found, strict=True)))

    @contextmanager
    def taught(self) -> Iterator[tuple[Classifier, Teacher]]:
        """A classifier that can be taught, and forgets at the end."""
        with tempfile.TemporaryDirectory() as folder:
            teaching = Teaching(Path(folder) / self.path.name, self.bundle, self._runtime)
            yield Classifier(self.bundle.manifest, self._runtime, teaching), teaching.teacher


def unit(rows: NDArray[Any]) -> Floats:
    """Each row divided by its length."""
    divided: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return divided


def rivals(device: Device, taught: list[Answers]) -> dict[str, Rule]:
    """The other rules, fitted to the pictures of each taught class.

    Those that add rows to the trained head see the features that it takes, the others what the
    bundle is taught by, as ours does.
    """
    weight, bias = device.head  # (F, C), (C,)
    blob, facts = device.bundle.manifest.statistics, device.bundle.manifest.teaching
    assert blob is not None
    assert facts is not None
    size = taught[0].embedding.shape[1]
    known = unpacked(device.bundle.blobs[blob.name], blob.name, facts, size)
    means = np.concatenate([known.means, [one.embedding.mean(axis=0) for one in taught]])
    factors = known.covariance.factors
    covariance = factors.T @ factors + known.covariance.rest * np.eye(size)
    rows = np.linalg.solve((1 - 1e-4) * covariance + 1e-4 * np.eye(size), means.T)
    offsets = -np.sum(rows * means.T, axis=0) / 2
    imprinted = unit(np.stack([one.features.mean(axis=0) for one in taught])).T
    of_units = unit(np.stack([unit(one.features).mean(axis=0) for one in taught])).T
    length = np.linalg.norm(weight, axis=0).mean()

    def trained(x: Answers) -> Floats:
        return x.features @ weight + bias

    return {
        "as exported": lambda x: np.pad(
            trained(x), ((0, 0), (0, len(taught))), constant_values=-np.inf
        ),
        "imprint": lambda x: np.concatenate(
            [trained(x), x.features @ (length * imprinted)], axis=1
        ),
        "nearest mean": lambda x: unit(x.embedding) @ unit(means).T,
        "slda": lambda x: x.embedding @ rows + offsets,
        "pycoral": lambda x: (
            unit(x.features) @ np.concatenate([unit(weight.T).T, of_units], axis=1)
        ),
    }


def measured(
    base: str, device: Device, dataset: ImageDataset, chosen: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """A row for each number of pictures, draw and rule."""
    labels = np.array([*map(dataset.classes.index, device.classes), *chosen[OLD:]])
    test_of = [dataset.test.pixels(np.flatnonzero(dataset.test.labels == c)) for c in labels]
    truth = np.repeat(np.arange(OLD + NEW), [*map(len, test_of)])
    seen = device.answers(np.concatenate(test_of))
    for count in COUNTS:
        for draw in DRAWS:
            random = np.random.default_rng(draw)
            pictures = [
                dataset.train.pixels(
                    random.permutation(np.flatnonzero(dataset.train.labels == c))[:count]
                )
                for c in chosen[OLD:]
            ]
            taught = [device.answers(some) for some in pictures]
            found = {
                name: rule(seen).argmax(axis=1) for name, rule in rivals(device, taught).items()
            }
            with device.taught() as (classifier, teacher):
                for c, some in zip(chosen[OLD:], pictures, strict=True):
                    classifier.teach(dataset.classes[c], list(some), budget_bytes=100_000_000)
                found["ours"] = teacher.logits(seen.embedding, seen.logits)[0].argmax(axis=1)
            yield from _rows(base, count, draw, truth, found)


def _rows(
    base: str, count: int, draw: int, truth: NDArray[np.int64], found: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for rule, answers in found.items():
        right = answers == truth
        yield {
            "base": base,
            "count": count,
            "draw": draw,
            "rule": rule,
            "old": round(100 * float(right[truth < OLD].mean()), 2),
            "new": round(100 * float(right[truth >= OLD].mean()), 2),
            "total": round(100 * float(right.mean()), 2),
        }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: old / new / total, means over the draws."""
    yield f"| base | rule | {' | '.join(f'n = {count}' for count in COUNTS)} |"
    yield "|---" * (2 + len(COUNTS)) + "|"
    for base, rule in dict.fromkeys((row["base"], row["rule"]) for row in rows):
        cells = []
        for count in COUNTS:
            key = (base, rule, count)
            same = [r for r in rows if (r["base"], r["rule"], r["count"]) == key]
            parts = [f"{mean(r[part] for r in same):.1f}" for part in ("old", "new", "total")]
            cells.append(" / ".join(parts) if same else "-")
        yield f"| {base} | {rule} | {' | '.join(cells)} |"


def measure_bases(
    script: str,
    bases: Collection[str],
    rows_of: Callable[[str, Path, ImageDataset], Iterable[dict[str, Any]]],
    table: Callable[[list[dict[str, Any]]], Iterator[str]],
    about: str,
) -> None:
    """The command line of a benchmark: measure the bases that are not there yet, print the table.

    Args:
        script: its name without an ending, which the files have, too.
        bases: all there are.
        rows_of: measures a base, whose run and bundle lie in the folder.
        table: of the rows, in Markdown.
        about: what its numbers are.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs") / script)
    parser.add_argument("--bases", default=",".join(bases))
    asked = parser.parse_args()
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    file = asked.out / f"{script}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    dataset = load_dataset("cifar100")
    for base in asked.bases.split(","):
        if any(row["base"] == base for row in rows):
            continue
        rows.extend(rows_of(base, asked.work, dataset))
        machine = {"hardware": hardware(torch.device("cpu")), "versions": versions()}
        written = json.dumps(machine | {"rows": rows}, indent=1, allow_nan=False)
        file.write_text(f"{written}\n")
    lines = "\n".join(table(rows))
    print(lines)
    file.with_suffix(".md").write_text(f"{about}\n\n{lines}\n")


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    chosen = np.random.default_rng(1993).permutation(len(dataset.classes))[: OLD + NEW]
    words, photos = BASES[base], PHOTOS[base]
    path = trained_bundle(base, words, photos, dataset, chosen[:OLD], work)
    yield from measured(base, Device(path), dataset, chosen)


ABOUT = f"Accuracy in percent over old / new / all test pictures, {len(DRAWS)} draws."

if __name__ == "__main__":
    measure_bases("teaching", BASES, rows_of, table, ABOUT)
