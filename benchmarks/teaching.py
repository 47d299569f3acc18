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
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecil.data import ImageDataset, load_dataset
from edgecil.training.run import hardware, versions
from edgecil_devices import Classifier
from edgecil_devices.bundle import Bundle, read_bundle
from edgecil_devices.images import read_pixels
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.statistics import unpacked
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
Rule = Callable[[Floats], Floats]
"""Features (N, F) -> scores (N, C) of old and new classes."""


def base_bundle(name: str, dataset: ImageDataset, classes: NDArray[np.int64], work: Path) -> Path:
    """The bundle of a base, trained and exported if it is not there yet."""
    photos, run, bundle = (work / f"{name}{end}" for end in ("-photos", "-run", ".edgecil"))
    if not photos.exists():
        save_pictures(dataset, classes, PHOTOS[name], photos, np.random.default_rng(0))
    if not bundle.exists():
        for words in (
            ["train", "--data", photos, "--run", run, "--resume", *BASES[name]],
            ["export", run, "--out", bundle, "--teachable"],
        ):
            subprocess.run([sys.executable, "-m", "edgecil", *map(str, words)], check=True)
    return bundle


class Features:
    """What the bundle's network makes of pictures."""

    def __init__(self, bundle: Bundle) -> None:
        self._runtime = Runtime(bundle, 1)
        self._preprocessing = bundle.manifest.preprocessing
        self.head = tuple(part.astype(np.float64) for part in self._runtime.head)

    def of(self, pictures: NDArray[np.uint8]) -> Floats:
        """(N, H, W, 3) -> (N, F)."""
        found = []
        for start in range(0, len(pictures), 32):
            some = [read_pixels(one, self._preprocessing) for one in pictures[start : start + 32]]
            found.append(self._runtime.run(np.stack(some)).features)
        return np.concatenate(found).astype(np.float64)


def unit(rows: Floats) -> Floats:
    """Each row divided by its length."""
    divided: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return divided


def rivals(bundle: Bundle, features: Features, taught: list[Floats]) -> dict[str, Rule]:
    """The other rules, fitted to the features (n, F) of each taught class."""
    weight, bias = features.head  # (F, C), (C,)
    manifest = bundle.manifest
    assert manifest.statistics is not None
    assert manifest.teaching is not None
    blob = bundle.blobs[manifest.statistics.name]
    known = unpacked(blob, manifest.statistics.name, manifest.teaching, len(weight))
    new = np.stack([one.mean(axis=0) for one in taught])
    means = np.concatenate([known.means, new])
    factors = known.covariance.factors
    covariance = factors.T @ factors + known.covariance.rest * np.eye(len(weight))
    rows = np.linalg.solve((1 - 1e-4) * covariance + 1e-4 * np.eye(len(weight)), means.T)
    offsets = -np.sum(rows * means.T, axis=0) / 2
    length = np.linalg.norm(weight, axis=0).mean()
    nothing = np.full((1, len(new)), -np.inf)
    return {
        "as exported": lambda x: np.concatenate(
            [x @ weight + bias, nothing.repeat(len(x), axis=0)], axis=1
        ),
        "imprint": lambda x: np.concatenate(
            [x @ weight + bias, x @ (length * unit(new)).T], axis=1
        ),
        "nearest mean": lambda x: unit(x) @ unit(means).T,
        "slda": lambda x: x @ rows + offsets,
        "pycoral": lambda x: (
            unit(x)
            @ np.concatenate(
                [unit(weight.T), unit(np.stack([unit(one).mean(axis=0) for one in taught]))]
            ).T
        ),
    }


def measured(
    base: str, path: Path, count: int, draw: int, dataset: ImageDataset, chosen: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """A row for each rule."""
    bundle = read_bundle(path)
    features = Features(bundle)
    order = [dataset.classes.index(name) for name in bundle.manifest.classes]
    labels = np.array([*order, *chosen[OLD:]])
    test_of = [dataset.test.pixels(np.flatnonzero(dataset.test.labels == c)) for c in labels]
    test, truth = np.concatenate(test_of), np.repeat(np.arange(OLD + NEW), [*map(len, test_of)])
    random = np.random.default_rng(draw)
    pictures = [
        dataset.train.pixels(random.permutation(np.flatnonzero(dataset.train.labels == c))[:count])
        for c in chosen[OLD:]
    ]
    seen = features.of(test)
    found = {
        name: rule(seen).argmax(axis=1)
        for name, rule in rivals(bundle, features, [features.of(some) for some in pictures]).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / path.name
        link.write_bytes(path.read_bytes())
        classifier = Classifier.load(link, 1)
        names = [*bundle.manifest.classes, *(dataset.classes[c] for c in chosen[OLD:])]
        for name, some in zip(names[OLD:], pictures, strict=True):
            classifier.teach(name, list(some), budget_bytes=100_000_000)
        found["ours"] = np.array(
            [names.index(classifier.predict(one, top=1).label) for one in test]
        )
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


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("runs/teaching"))
    parser.add_argument("--bases", default=",".join(BASES))
    asked = parser.parse_args()
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    file = asked.out / "teaching.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    dataset = load_dataset("cifar100")
    chosen = np.random.default_rng(1993).permutation(len(dataset.classes))[: OLD + NEW]
    for base in asked.bases.split(","):
        path = base_bundle(base, dataset, chosen[:OLD], asked.work)
        for count in COUNTS:
            for draw in DRAWS:
                if any((r["base"], r["count"], r["draw"]) == (base, count, draw) for r in rows):
                    continue
                for row in measured(base, path, count, draw, dataset, chosen):
                    rows.append(row)
                    print(row, flush=True)
                about = {"hardware": hardware(torch.device("cpu")), "versions": versions()}
                written = json.dumps(about | {"rows": rows}, indent=1, allow_nan=False)
                file.write_text(f"{written}\n")
    lines = "\n".join(table(rows))
    print(lines)
    file.with_suffix(".md").write_text(
        f"Accuracy in percent over old / new / all test pictures, {len(DRAWS)} draws.\n\n{lines}\n"
    )


if __name__ == "__main__":
    main()
