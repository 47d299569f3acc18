"""Where a run's pictures come from: one data set or, after `edgecil learn`, several.

Labels in a run count classes in the order in which they were learned, whatever their data set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecil.data import ImageDataset, Split, load_dataset
from edgecil.errors import DataError
from edgecil.pictures.batches import JoinedPictures, Pictures
from edgecil.pictures.sequences import PicturesFrom
from edgecil.training.settings import PlannedTask, RunSettings, Source
from edgecil_devices.class_names import composed


def load_source(
    settings: RunSettings, source: Source, data_dir: Path | None = None
) -> ImageDataset:
    """The data of one of the run's sources, parted as they were when they were learned.

    Only the classes that it had then are read, as far as they are still there: a class may have no
    picture to learn from or to test on, or be missing.

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
    return found


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


class RunData:
    """The pictures of a run's tasks.

    Args:
        datasets: one per source of the run; None for one that cannot be had any more.
        tasks: the run's tasks.
    """

    def __init__(
        self, datasets: Sequence[ImageDataset | None], tasks: Sequence[PlannedTask]
    ) -> None:
        self._datasets, self._tasks = datasets, tasks

    def training(self, stage: int) -> list[Split]:
        """The training pictures of task `stage`, one split a class, in the order of its classes.

        Raises:
            DataError: the data set cannot be had, or lacks a class of the task or its pictures.
        """
        task = self._tasks[stage - 1]
        dataset = self._datasets[task.source]
        if dataset is None:
            raise DataError(f"the pictures of task {stage} cannot be found; put them back")
        if missing := _composed(task.classes) - _composed(dataset.classes):
            raise DataError(f"the data have no class {min(missing)!r}; put its folder back")
        splits = [_of_class(dataset, dataset.train, name) for name in task.classes]
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
        wanted = _composed(task.classes)
        labels = [n for n, name in enumerate(dataset.classes) if composed(name) in wanted]
        train, test = (np.isin(split.labels, labels) for split in (dataset.train, dataset.test))
        return int(train.sum()), int(test.sum())

    def test(self, stage: int) -> Labelled:
        """The test pictures of all classes up to task `stage`, as far as they can be had."""
        splits, labels, label = [], [np.empty(0, np.int64)], 0
        for task in self._tasks[:stage]:
            dataset = self._datasets[task.source]
            for name in task.classes:
                if dataset is not None and composed(name) in _composed(dataset.classes):
                    splits.append(_of_class(dataset, dataset.test, name))
                    labels.append(np.full(len(splits[-1]), label, np.int64))
                label += 1
        return Labelled(JoinedPictures(*splits), np.concatenate(labels))


def _composed(names: Iterable[str]) -> set[str]:
    return set(map(composed, names))


def _of_class(dataset: ImageDataset, split: Split, name: str) -> Split:
    label = [*map(composed, dataset.classes)].index(composed(name))
    return split.subset(np.flatnonzero(split.labels == label))
