"""Claim: classes are learned without keeping a picture, for a price against rehearsal.

CIFAR-100's pictures, 10 classes as 5 + 5 and 20 as 10 + 5 + 5, 100 photos each, ResNet-14 from
scratch with weights in fp16, 1 MB for all that is kept; all test pictures of these classes. And 10
classes, 50 photos each at 128 pixels, behind a trunk that comes pretrained, EfficientNet-Lite0 in
int8, under 5 MB. 20 epochs of the first task and 10 of each later one: short trainings, from which
replay may gain more when they are longer; that is not measured. Three methods, the same budget:

    finetune    trains on the new classes alone and keeps nothing
    slda        trains on the first task alone, or with the pretrained trunk not at all, and keeps
                means and a covariance of features
    replay      trains on the new classes and on the exemplars that fit

    python benchmarks/without_pictures.py --out benchmarks/results [--seeds 1,2,3]

prints the table and writes without_pictures.md, with processor and versions, and what each run came
to into without_pictures.json; what is there already is not measured again. CIFAR-100 is found as
`edgecil train` finds it. Some five minutes a seed on a processor, and five more for the pretrained
trunk, which only the first seed has.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgecil.data import ImageDataset, Split, load_dataset
from edgecil.evaluation.measures import average_incremental_accuracy
from edgecil.evaluation.results import StageResult
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.run import hardware, versions
from edgecil_devices.images import Preprocessing

METHODS = ("finetune", "slda", "replay")
SCRATCH = {"backbone": "resnet14", "precision": "fp16", "budget": 1_000_000}
PRETRAINED = {"backbone": "efficientnet-lite0", "precision": "int8", "budget": 5_000_000}


@dataclass(frozen=True)
class Setting:
    """What is learned, and how."""

    name: str
    classes: int
    base: int
    """Classes of the first task."""
    photos: int
    """Of each class."""
    asked: dict[str, Any]
    image_size_px: int = 32

    def data(self, seed: int) -> ImageDataset:
        """Some classes of CIFAR-100, all of their test pictures."""
        dataset = load_dataset("cifar100")
        draw = np.random.default_rng(seed)
        chosen = draw.permutation(len(dataset.classes))[: self.classes]

        def part(split: Split, limit: int | None) -> Split:
            rows = [draw.permutation(np.flatnonzero(split.labels == c))[:limit] for c in chosen]
            labels = np.repeat(np.arange(self.classes), [len(row) for row in rows])
            pixels = split.pixels(np.concatenate(rows))
            if self.image_size_px != dataset.image_size_px:
                size = (self.image_size_px,) * 2
                pixels = np.stack([np.array(Image.fromarray(one).resize(size)) for one in pixels])
            return Split(pixels, labels, Preprocessing(self.image_size_px))

        return replace(
            dataset,
            classes=tuple(dataset.classes[c] for c in chosen),
            train=part(dataset.train, self.photos),
            test=part(dataset.test, None),
            image_size_px=self.image_size_px,
            fingerprint=f"{dataset.fingerprint}-{self.name}-{seed}",
        )


SETTINGS = (
    Setting("scratch", 10, 5, 100, SCRATCH),
    Setting("scratch", 20, 10, 100, SCRATCH),
    Setting("pretrained", 10, 5, 50, PRETRAINED, 128),
)


@dataclass(frozen=True)
class Row:
    """What one run came to."""

    classes: int
    training: str
    method: str
    seed: int
    average: float
    last: float
    first_task: float
    """Accuracy of the first task's classes at the end, in percent."""
    later_tasks: float
    """The mean of the other tasks'."""
    exemplars: int
    state_bytes: int
    later_seconds: float
    """Of each later task, its measurement included."""

    @classmethod
    def of(cls, about: tuple[int, str, str, int], stages: list[StageResult]) -> "Row":
        """The row of a run's results."""
        last = stages[-1]
        first_task, *later = (accuracy or 0.0 for accuracy in last.accuracy_by_task)
        return cls(
            *about,
            average_incremental_accuracy([stage.accuracy for stage in stages]) or 0.0,
            last.accuracy or 0.0,
            first_task,
            mean(later),
            last.exemplars,
            last.state_bytes,
            mean(stage.seconds for stage in stages[1:]),
        )


def learned(setting: Setting, method: str, seed: int) -> Row:
    """One run."""
    request = TrainRequest(
        data="cifar100",
        base=setting.base,
        increment=5,
        method=method,
        codec="webp-lossless",
        seed=seed,
        first_epochs=20,
        epochs=10,
        **setting.asked,
    )
    about = (setting.classes, setting.name, method, seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        return Row.of(about, train(request, run, device="cpu", dataset=setting.data(seed)))


def measured(seeds: list[int], file: Path) -> list[Row]:
    """A row for every run; those that `file` has are not measured again."""
    rows = [Row(**row) for row in json.loads(file.read_text())] if file.exists() else []
    for setting in SETTINGS:
        for seed in seeds if setting.name == "scratch" else seeds[:1]:
            for method in METHODS:
                about = (setting.classes, setting.name, method, seed)
                if about in [(row.classes, row.training, row.method, row.seed) for row in rows]:
                    continue
                rows.append(learned(setting, method, seed))
                print(rows[-1], flush=True)
                written = json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False)
                file.write_text(f"{written}\n")
    return rows


def lines_of(rows: list[Row]) -> Iterator[str]:
    """The means over the seeds as a table in Markdown."""
    yield (
        "| classes | training | method | average | last | first task | later tasks | pictures kept "
        "| state, bytes | seconds a later task | seeds |"
    )
    yield "|---" * 11 + "|"
    for setting in SETTINGS:
        for method in METHODS:
            wanted = (setting.classes, setting.name, method)
            some = [row for row in rows if (row.classes, row.training, row.method) == wanted]
            cells = [str(setting.classes), setting.name, method]
            for name, digits in (
                *((name, 1) for name in ("average", "last", "first_task", "later_tasks")),
                ("exemplars", 0),
                ("state_bytes", 0),
                ("later_seconds", 1),
            ):
                cells.append(f"{mean(getattr(row, name) for row in some):.{digits}f}")
            yield f"| {' | '.join([*cells, str(len(some))])} |"


def page(rows: list[Row]) -> str:
    """The table, with what it is of."""
    found = hardware(torch.device("cpu"))
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    return "\n".join(
        [
            "# Without keeping pictures",
            "",
            "Accuracies in percent, means over the seeds. CIFAR-100, 100 photos a class, ResNet-14 "
            "from scratch in fp16, 1 MB; pretrained: 50 photos a class at 128 pixels, "
            "EfficientNet-Lite0 in int8, 5 MB, finetune and replay with a thin block behind b14, "
            "slda with the 320 features of b15. 10 classes are learned as 5 + 5, 20 as 10 + 5 + 5. "
            "20 epochs of the first task and 10 of a later one; longer ones are not measured. Both "
            "columns of tasks are of the end. Made by `benchmarks/without_pictures.py`.",
            "",
            *lines_of(rows),
            "",
            f"{found['processor']}, {found['threads']} thread, beside other work; {told}.",
            "",
        ]
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="1,2,3")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    text = page(measured(seeds, asked.out / "without_pictures.json"))
    print(text)
    (asked.out / "without_pictures.md").write_text(text)


if __name__ == "__main__":
    main()
