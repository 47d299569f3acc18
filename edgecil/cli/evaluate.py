"""`edgecil eval`: a bundle's accuracy, measured with the device's runtime.

Shapes: N images, C classes of the bundle.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.cli import options
from edgecil.cli.training_options import DataDir
from edgecil.errors import DataError, UsageError
from edgecil.training.request import TrainRequest
from edgecil.work import work
from edgecil_devices.computation import warning_of
from edgecil_devices.output import typed
from edgecil_devices.predict import PredictRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecil.data import HeldOut, ImageDataset
    from edgecil_devices import Classifier

_USUAL_HOLDOUT, _USUAL_SEED = TrainRequest.holdout, TrainRequest.seed
"""What `edgecil train` takes where nothing is said; older bundles do not note it."""

BATCH = 64
"""Images that are run at once."""


def evaluate(
    bundle: options.BundleFile,
    data: Annotated[
        list[str],
        typer.Option(help="A data set, as for training; repeat it where classes are in several."),
    ],
    data_dir: DataDir = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            help="Part of a folder's pictures to test on where it has no test split, 1 for all.",
            show_default="what the bundle's run kept for the test",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed that drew them.", show_default="the run's, noted in the bundle"),
    ] = None,
    threads: options.Threads = None,
    compute: options.Compute = PredictRequest.compute,
    as_json: options.AsJson = False,
) -> None:
    """Measure a bundle on the test pictures of a data set; classes are matched by name.

    Classes that the data lack are named, and not measured. Of a folder without a test split the
    test pictures are those that the bundle's run kept for the test, and what was added since by the
    same rule. What a device was taught may be the zip file itself.
    """
    from edgecil.data import load_dataset
    from edgecil_devices import Classifier

    classifier = Classifier.load(bundle, threads, compute)
    if told := warning_of(compute, classifier.note):
        print(told, file=sys.stderr)
    rule = classifier.manifest.preprocessing
    held_out = _held_out(classifier, holdout, seed)
    load = partial(
        load_dataset,
        data_dir=data_dir,
        image_size_px=rule.image_size_px,
        shorter_side_px=rule.shorter_side_px,
        reading=rule.reading,
        holdout=_USUAL_HOLDOUT if holdout is None else holdout,
        seed=_USUAL_SEED if seed is None else seed,
        held_out=held_out,
        known_classes=classifier.classes,
    )
    with TemporaryDirectory(prefix="edgecil-eval-") as room:
        datasets = _loaded(data, load, Path(room))
        _require_pictures(classifier, datasets)
        result = measure(classifier, datasets)
    learned = _learned(classifier, datasets)
    if as_json:
        about = {"bundle": str(bundle), "data": data, "learned_images": learned}
        about["compute"] = classifier.compute
        print(json.dumps(about | result.to_dict(), allow_nan=False))
        return
    _print_table(classifier, result)
    if learned is None:
        told = "the bundle cannot tell which of these images its run had learned"
        drawn = holdout is None and any(dataset.held_out for dataset in datasets)
        print(f"{told}; if none, --holdout 1 tests on all there are" if drawn else told)
    else:
        doubt = ", unless they came later" if learned else ""
        print(f"{learned} of these images had been learned by the bundle's run{doubt}")
    print(f"next: edgecil predict {typed(bundle)} PICTURE.jpg")


def _loaded(
    data: Sequence[str], load: "Callable[[str], ImageDataset]", room: Path
) -> "list[ImageDataset]":
    """The data sets, what devices were taught last: corrections of classes of the others are none.

    Args:
        data: as they were named.
        load: loads one.
        room: an empty folder to unpack zip files in.
    """
    from edgecil.data.taught_zip import is_taught_zip, unpacked

    zips = [one for one in data if is_taught_zip(one)]
    datasets = [load(one) for one in data if one not in zips]
    for number, file in enumerate(zips):
        known = [name for dataset in datasets for name in dataset.classes]
        found = unpacked(Path(file), room / str(number), known)
        for label, count in found.corrections.items():
            print(
                f"left out: {count} pictures of {label!r} in {file}, corrections of a class that "
                "other data have",
                file=sys.stderr,
            )
        datasets.append(load(str(found.folder)))
    return datasets


def _held_out(
    classifier: "Classifier", holdout: float | None, seed: int | None
) -> "HeldOut | None":
    """How the bundle's run drew test pictures, as far as the bundle says."""
    from edgecil.data import HeldOut

    noted = classifier.manifest.held_out
    if noted is None:
        return None
    if seed not in (None, noted.seed):
        raise UsageError(
            f"--seed {seed} contradicts the bundle, whose test pictures were drawn by "
            f"{noted.seed}; leave it out"
        )
    if holdout not in (None, 1):
        raise UsageError(
            f"the bundle knows which pictures were kept for the test; leave out --holdout "
            f"{holdout:g}, or give 1 to test on all"
        )
    cuts = zip(classifier.classes, noted.cuts, strict=True)
    return HeldOut(noted.seed, {name: cut for name, cut in cuts if cut is not None})


def _learned(classifier: "Classifier", datasets: "list[ImageDataset]") -> int | None:
    """How many of the test images the bundle's run had learned; None if the bundle cannot tell.

    It can tell of pictures that are parted by its own rule, as far as they are those that the run
    parted. Those of a test split count as not learned where the run had one, too.
    """
    noted = classifier.manifest.held_out
    cuts = noted.cuts if noted else [None] * len(classifier.classes)
    cut_of = dict(zip(classifier.classes, cuts, strict=True))
    learned = 0
    for dataset in datasets:
        known = cut_of.keys() & set(dataset.classes)
        if any((cut_of[name] is None) != (dataset.held_out is None) for name in known):
            return None
        if not known.isdisjoint(dataset.unparted):
            return None
        learned += sum(dataset.learned.get(name, 0) for name in known)
    return learned


@dataclass(frozen=True)
class TaskAccuracy:
    """How many of the pictures of one or more tasks are classified rightly."""

    classes: int
    """Of which there are images."""
    images: int
    correct: int

    @property
    def percent(self) -> float | None:
        """Top-1 accuracy in percent, over all classes of the bundle; None without images."""
        return 100 * self.correct / self.images if self.images else None


@dataclass(frozen=True)
class Evaluation:
    """What a bundle came to on a data set."""

    tasks: tuple[TaskAccuracy, ...]
    ms_per_image: float
    """Inference alone, in batches."""

    @property
    def overall(self) -> TaskAccuracy:
        """All tasks together."""
        return TaskAccuracy(
            sum(task.classes for task in self.tasks),
            sum(task.images for task in self.tasks),
            sum(task.correct for task in self.tasks),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "images": self.overall.images,
            "classes": self.overall.classes,
            "accuracy": self.overall.percent,
            "accuracy_by_task": [task.percent for task in self.tasks],
            "ms_per_image": self.ms_per_image,
        }


def measure(classifier: "Classifier", datasets: "list[ImageDataset]") -> Evaluation:
    """Classify the test images of every class that the bundle knows."""
    import numpy as np

    correct = np.zeros(len(classifier.classes), np.int64)
    images = np.zeros(len(classifier.classes), np.int64)
    seconds = 0.0
    chosen = [_known_images(classifier, dataset) for dataset in datasets]
    total = sum(len(indices) for indices, _ in chosen)
    with work("evaluating", total) as done:
        for dataset, (indices, labels) in zip(datasets, chosen, strict=True):
            for start in range(0, len(indices), BATCH):
                batch = slice(start, start + BATCH)
                pixels = dataset.test.pixels(indices[batch])
                started = time.perf_counter()
                found = classifier.logits(pixels).argmax(axis=1)
                seconds += time.perf_counter() - started
                np.add.at(images, labels[batch], 1)
                np.add.at(correct, labels[batch], found == labels[batch])
                done(len(pixels))
    tasks = tuple(
        TaskAccuracy(
            int((images[list(task)] > 0).sum()),
            int(images[list(task)].sum()),
            int(correct[list(task)].sum()),
        )
        for task in classifier.manifest.tasks
    )
    return Evaluation(tasks, 1e3 * seconds / max(total, 1))


def _require_pictures(classifier: "Classifier", datasets: "list[ImageDataset]") -> None:
    """Say which classes cannot be measured, and which pictures are not looked at.

    Raises:
        DataError: no class can be measured.
    """
    from edgecil.data.layout import shown
    from edgecil_devices.class_names import composed

    known = [*map(composed, classifier.classes)]
    there, tested, drawn = set[str](), set[str](), set[str]()
    for dataset in datasets:
        names = [*map(composed, dataset.classes)]
        there |= {*names, *map(composed, dataset.others)}
        tested |= {names[label] for label in dataset.test.labels}
        if dataset.held_out:  # otherwise --holdout changes nothing
            drawn |= {names[label] for label in dataset.train.labels}
    if there.isdisjoint(known):
        raise DataError(
            f"the data have no class of the bundle, which knows {shown(known)}; "
            "folders are named as the classes"
        )
    lacking = [name for name in known if name not in tested]
    of_classes = f"{len(lacking)} of the {len(known)} classes of the bundle ({shown(lacking)})"
    every = "" if drawn.isdisjoint(lacking) else "give --holdout 1 to test on every picture"
    if tested.isdisjoint(known):
        remedy = f"add some, or {every}" if every else "add some"
        raise DataError(f"no usable picture to test on in {of_classes}; {remedy}")
    if lacking:
        why = f"no usable picture to test on; {every}" if every else "no usable picture to test on"
        print(f"not measured: {of_classes}, {why}", file=sys.stderr)
    if left_out := len(there - {*known}):
        print(f"left out: {left_out} classes that the bundle has not learned", file=sys.stderr)


def _known_images(
    classifier: "Classifier", dataset: "ImageDataset"
) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """The test images of classes that the bundle knows, and their classes in the bundle."""
    import numpy as np

    from edgecil_devices.class_names import composed

    position = {composed(name): c for c, name in enumerate(classifier.classes)}
    in_bundle = np.array([position.get(composed(name), -1) for name in dataset.classes], np.int64)
    labels = in_bundle[dataset.test.labels]
    indices = np.flatnonzero(labels >= 0)
    return indices, labels[indices]


def _print_table(classifier: "Classifier", result: Evaluation) -> None:
    rows = [*((str(t), task) for t, task in enumerate(result.tasks, 1)), ("all", result.overall)]
    print(f"{'task':>4} {'classes':>7} {'images':>7} {'accuracy':>8}")
    for name, task in rows:
        percent = "-" if task.percent is None else f"{task.percent:.2f}"
        print(f"{name:>4} {task.classes:>7} {task.images:>7} {percent:>8}")
    if measured := classifier.manifest.accuracy:
        told = measured.in_words(len(classifier.classes))
        print(f"the run measured {told} before export")
    print(f"{result.ms_per_image:.2f} ms an image, in batches of {BATCH}, in {classifier.compute}")
