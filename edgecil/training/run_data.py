"""Where a run's pictures come from: one data set or, after `edgecil learn`, several.

Labels in a run count classes in the order in which they were learned, whatever their data set.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecil.data import HeldOut, ImageDataset, Split, load_dataset
from edgecil.data.layout import shown
from edgecil.errors import DataError
from edgecil.pictures.batches import JoinedPictures, Pictures
from edgecil.pictures.sequences import PicturesFrom
from edgecil.training.settings import PlannedTask, RunSettings, Source
from edgecil_devices.class_names import composed

_logger = logging.getLogger("edgecil")


def load_source(
    settings: RunSettings, source: Source, data_dir: Path | None = None
) -> ImageDataset:
    """The data of one of the run's sources, parted as they were when they were learned.

    Only the classes that it had then are read, as far as they are still there: a class may have no
    picture to learn from or to test on, or be missing. A test picture that was learned, or may have
    been, is left out, with a word.

    Args:
        settings: the run's.
        source: one of its sources.
        data_dir: where built-in data sets are; None for where they usually are.

    Raises:
        EdgecilError: they cannot be had, or are not what they were.
    """
    found = load_dataset(
        source.data,
        data_dir=data_dir,
        image_size_px=settings.image_size_px,
        shorter_side_px=settings.shorter_side_px,
        reading=settings.reading,
        holdout=source.holdout,
        held_out=source.held_out,
        seed=settings.seed,
        known_classes=tuple(source.pictures) or _learned_from(settings, source),
    )
    # Of an older edgecil's sources it is not known whether their test pictures were drawn.
    if found.held_out and source.pictures and not source.held_out:
        raise DataError(
            f"{source.data} had test pictures in a folder of their own, which is gone; put it back"
        )
    return _without_learned(found, source.held_out) if source.held_out else found


def _without_learned(found: ImageDataset, drawn: HeldOut) -> ImageDataset:
    """The data without test pictures that the run, which drew them so, may have learned."""
    names = [found.classes[label] for label in found.test.labels]
    paths = map(str, found.test.images)
    keeps = [
        name not in drawn.cuts
        or (name not in found.unparted and drawn.is_test(name, found.digests[path]))
        for name, path in zip(names, paths, strict=True)
    ]
    if all(keeps):
        return found
    of = sorted({name for name, keep in zip(names, keeps, strict=True) if not keep})
    _logger.warning(
        "%s: %d test pictures left out (%s), for they were learned or may have been: files have "
        "been rewritten, deleted or sorted anew since; put them back as they were",
        found.name,
        keeps.count(False),
        shown(of),
    )
    return replace(found, test=found.test.subset(np.flatnonzero(keeps)))


def _learned_from(settings: RunSettings, source: Source) -> tuple[str, ...]:
    """The classes that were learned from a source, which may have had others."""
    number = settings.sources.index(source)
    tasks = [task for task in settings.tasks if task.source == number]
    return tuple(name for task in tasks for name in task.classes)


@dataclass(frozen=True)
class Labelled:
    """Pictures and the run's labels of them."""

    pictures: Pictures
    """N pictures."""
    labels: np.ndarray
    """(N,) int64."""

    def from_(self, first: int) -> "Labelled":
        """Those from one on."""
        return Labelled(PicturesFrom(self.pictures, first), self.labels[first:])


class _ByClass:
    """The pictures of a data set, found by the name of their class.

    Args:
        dataset: whose names are looked at once.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self._dataset, count = dataset, len(dataset.classes)
        self._labels = {composed(name): label for label, name in enumerate(dataset.classes)}
        self._of_train = _places(dataset.train.labels, count)
        self._of_test = _places(dataset.test.labels, count)

    def __contains__(self, name: str) -> bool:
        return composed(name) in self._labels

    def counts(self, name: str) -> tuple[int, int]:
        """Pictures to learn from and to test on."""
        label = self._labels[composed(name)]
        return len(self._of_train[label]), len(self._of_test[label])

    def training(self, name: str) -> Split:
        return self._dataset.train.subset(self._of_train[self._labels[composed(name)]])

    def test(self, name: str) -> Split:
        return self._dataset.test.subset(self._of_test[self._labels[composed(name)]])


def _places(labels: np.ndarray, class_count: int) -> list[np.ndarray]:
    """Where the pictures of each class are among labels (N,), first to last."""
    ends = np.cumsum(np.bincount(labels, minlength=class_count))
    return np.split(np.argsort(labels, kind="stable"), ends[:-1])


class RunData:
    """The pictures of a run's tasks.

    Args:
        datasets: one per source of the run; None for one that cannot be had any more.
        tasks: the run's tasks.
    """

    def __init__(
        self, datasets: Sequence[ImageDataset | None], tasks: Sequence[PlannedTask]
    ) -> None:
        self._datasets = [_ByClass(dataset) if dataset else None for dataset in datasets]
        self._tasks = tasks

    def training(self, stage: int) -> list[Split]:
        """The training pictures of task `stage`, one split a class, in the order of its classes.

        Raises:
            DataError: the data set cannot be had, or lacks a class of the task or its pictures.
        """
        task = self._tasks[stage - 1]
        dataset = self._datasets[task.source]
        if dataset is None:
            raise DataError(f"the pictures of task {stage} cannot be found; put them back")
        if missing := [composed(name) for name in task.classes if name not in dataset]:
            raise DataError(f"the data have no class {min(missing)!r}; put its folder back")
        splits = [dataset.training(name) for name in task.classes]
        for name, split in zip(task.classes, splits, strict=True):
            if not len(split):
                raise DataError(f"the data have no picture of {name!r} to learn from; put it back")
        return splits

    def counts(self, stage: int) -> tuple[int, int]:
        """How many pictures task `stage` has to learn from and to test on; 0 if they are gone."""
        task = self._tasks[stage - 1]
        dataset = self._datasets[task.source]
        if dataset is None:
            return 0, 0
        there = [dataset.counts(name) for name in task.classes if name in dataset]
        return sum(train for train, _ in there), sum(test for _, test in there)

    def test(self, stage: int) -> Labelled:
        """The test pictures of all classes up to task `stage`, as far as they can be had."""
        splits, labels, label = [], [np.empty(0, np.int64)], 0
        for task in self._tasks[:stage]:
            dataset = self._datasets[task.source]
            for name in task.classes:
                if dataset is not None and name in dataset:
                    splits.append(dataset.test(name))
                    labels.append(np.full(len(splits[-1]), label, np.int64))
                label += 1
        return Labelled(JoinedPictures(*splits), np.concatenate(labels))
