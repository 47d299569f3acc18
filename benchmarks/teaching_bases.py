"""What the benchmarks of teaching share: bundles, the device that runs them, the files written.

30 classes of CIFAR-100, drawn once, that a bundle knows, and 10 that it does not; a bundle for each
of these bases, exported with --teachable:

    one      ResNet-14, memo, all 30 classes in one task
    ten      ResNet-14, memo, ten tasks of three classes
    lite0    EfficientNet-Lite0, memo, ten tasks of three classes, 128 px, 50 pictures each
    slda     EfficientNet-Lite0, slda, ten tasks of three classes, 224 px, 50 pictures each: what
             `edgecil train` proposes for so few

Shapes: N pictures, C classes, F features of the head, E of what is taught by.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from as_typed import LITE0, THIN_BLOCKS, save_pictures
from edgecil.data import ImageDataset, load_dataset
from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from edgecil_devices.images import read_pixels
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.head import KnownClasses
from edgecil_devices.teaching.statistics import unpacked
from edgecil_devices.teaching.teacher import Teacher
from edgecil_devices.teaching.teaching import Teaching
from measurements import Measurements

OLD, NEW = 30, 10
BASES = {
    "one": ("--backbone", "resnet14", "--increment", "30", "--budget", "4MB"),
    "ten": ("--backbone", "resnet14", "--increment", "3", "--budget", "7MB"),
    "lite0": (*THIN_BLOCKS, "--increment", "3", "--budget", "8MB"),
    "slda": (*LITE0, "--method", "slda", "--increment", "3", "--budget", "5MB"),
}
PHOTOS = {"one": 500, "ten": 500, "lite0": 50, "slda": 50}
"""Pictures of each old class that the base is trained on."""
ROOM_BYTES = 100_000_000
"""For what is taught: enough."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Pictures = NDArray[np.uint8]
"""(N, H, W, 3)."""


def unit(rows: NDArray[Any]) -> Floats:
    """Each row divided by its length."""
    divided: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return divided


def trained_bundle(
    name: str,
    words: Sequence[str],
    photos: int,
    dataset: ImageDataset,
    classes: Labels,
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

    def of(self, chosen: NDArray[Any]) -> "Answers":
        """Of some of the pictures."""
        return Answers(*(part[chosen] for part in self))


class Device:
    """A bundle as a device runs it.

    Args:
        path: of the bundle.
        threads: that may compute at once.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        self.path, self.bundle = path, read_bundle(path)
        self.classes = self.bundle.manifest.classes
        self.runtime = Runtime(self.bundle, threads)
        self.head = tuple(part.astype(np.float64) for part in self.runtime.head)

    @property
    def known(self) -> KnownClasses:
        """What the bundle's statistics say of its classes."""
        blob, facts = self.bundle.manifest.statistics, self.bundle.manifest.teaching
        assert blob is not None
        assert facts is not None
        size = self.runtime.embedding_size
        return unpacked(self.bundle.blobs[blob.name], blob.name, facts, size)

    def answers(self, pictures: Pictures) -> Answers:
        """What it makes of pictures."""
        found = []
        for start in range(0, len(pictures), 32):
            some = pictures[start : start + 32]
            pixels = [read_pixels(one, self.bundle.manifest.preprocessing) for one in some]
            inference = self.runtime.run(np.stack(pixels))
            found.append((inference.embedding, inference.logits, inference.features))
        return Answers(*(np.concatenate(part) for part in zip(*found, strict=True)))

    @contextmanager
    def taught(self) -> Iterator[tuple[Classifier, Teacher]]:
        """A classifier that can be taught, and forgets at the end."""
        with tempfile.TemporaryDirectory() as folder:
            teaching = Teaching(Path(folder) / self.path.name, self.bundle, self.runtime)
            yield Classifier(self.bundle.manifest, self.runtime, teaching), teaching.teacher


def base_device(
    base: str, work: Path, dataset: ImageDataset, threads: int = 2
) -> tuple[Device, Labels]:
    """A base, trained if it is not there yet, and the labels of its OLD classes and the NEW ones.

    The old ones come in the order of the bundle's classes.
    """
    chosen = np.random.default_rng(1993).permutation(len(dataset.classes))[: OLD + NEW]
    path = trained_bundle(base, BASES[base], PHOTOS[base], dataset, chosen[:OLD], work)
    device = Device(path, threads)
    return device, np.array([*map(dataset.classes.index, device.classes), *chosen[OLD:]])


def tested_on(dataset: ImageDataset, labels: Iterable[int]) -> tuple[Pictures, Labels]:
    """All test pictures of some classes, and for each the place of its class among these."""
    of_classes = [dataset.test.pixels(np.flatnonzero(dataset.test.labels == c)) for c in labels]
    return (
        np.concatenate(of_classes),
        np.repeat(np.arange(len(of_classes)), [*map(len, of_classes)]),
    )


def drawn(dataset: ImageDataset, label: int, count: int, random: np.random.Generator) -> Pictures:
    """So many training pictures of a class."""
    rows = random.permutation(np.flatnonzero(dataset.train.labels == label))[:count]
    return dataset.train.pixels(rows)


def logits_once_taught(
    device: Device, shown: Mapping[str, Pictures], *seen: Answers
) -> list[NDArray[np.float32]]:
    """The device's logits (N, C + T) of pictures, once it was taught these classes.

    Args:
        device: with the bundle.
        shown: pictures of each class that is taught.
        seen: test pictures.
    """
    with device.taught() as (classifier, teacher):
        for name, pictures in shown.items():
            classifier.teach(name, list(pictures), budget_bytes=ROOM_BYTES)
        return [teacher.logits(some.embedding, some.logits)[0] for some in seen]


def accuracies(answers: Labels, truth: Labels, old: int) -> dict[str, float]:
    """Percent right of pictures of the first `old` classes, of the others, and of all."""
    right = answers == truth
    parts = {"old": right[truth < old], "new": right[truth >= old], "total": right}
    return {name: round(100 * float(part.mean()), 2) for name, part in parts.items()}


def table_of_accuracies(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line for each base and rule, old / new / total by count, means over the draws."""
    counts = list(dict.fromkeys(row["count"] for row in rows))
    yield f"| base | rule | {' | '.join(f'n = {count}' for count in counts)} |"
    yield "|---" * (2 + len(counts)) + "|"
    for base, rule in dict.fromkeys((row["base"], row["rule"]) for row in rows):
        cells = []
        for count in counts:
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
    asked.work.mkdir(parents=True, exist_ok=True)
    measurements = Measurements(asked.out, script)
    dataset = load_dataset("cifar100")
    for base in asked.bases.split(","):
        if not measurements.has({"base": base}):
            measurements.add(*rows_of(base, asked.work, dataset))
    measurements.write_table(about, table)
