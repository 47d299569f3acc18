"""The pictures on which the ranges of activations are found, for computing in eight bits.

A block is calibrated on the classes that were known when it was trained, and on pictures that will
be there as long as any. So it stays the same, byte by byte, when later tasks come, and an update
need not carry it again.

Shapes: N images, S image size, K blocks.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil.errors import EdgecilError, ExportError
from edgecil.memory.state import State
from edgecil.pictures.sequences import SeenInTest
from edgecil_export.evenly import evenly
from edgecil_export.opened_run import OpenedRun
from edgecil_export.parity import Pixels

_IMAGES_A_CLASS, _LEAST_IMAGES, _MOST_CLASSES = 4, 64, 128
"""With four times as many, ten blocks on CIFAR-100 were neither better nor worse."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """What is calibrated on."""

    pixels: Sequence[Pixels]
    """K times (N, S, S, 3), for each block."""
    exemplars: Indices
    """Which of the state's exemplars these are: nothing can be measured on them."""


def calibration(opened: OpenedRun, data_dir: Path | None) -> Calibration:
    """The state's exemplars; where it keeps none, pictures that the run was trained on.

    Args:
        opened: the run.
        data_dir: where built-in data sets are; nothing is downloaded.

    Raises:
        ExportError: neither are here.
    """
    state = opened.state
    chosen = exemplars_of_blocks(state)
    if all(map(len, chosen)):
        seen = SeenInTest(state.exemplars.pictures, state.settings.preprocessing)
        return Calibration([seen.pixels(some) for some in chosen], np.concatenate(chosen))
    try:
        return Calibration([*_of_training(opened, data_dir)], np.empty(0, np.int64))
    except (EdgecilError, OSError, ValueError) as error:  # whatever is wrong with the data
        raise ExportError(
            "int8 compute is calibrated on pictures, the run keeps none, and those that it was "
            "trained on are not here; put them back (or give --data-dir), or export with "
            "--compute fp32"
        ) from error


def exemplars_of_blocks(state: State) -> list[Indices]:
    """Which exemplars each of the blocks is calibrated on; none where none of its classes has any.

    They are those that are given up last. Every other one is left to measure on.
    """
    counts = state.exemplars.counts
    firsts = np.cumsum(counts) - counts
    return [
        np.concatenate([firsts[c] + np.arange(0, min(counts[c], 2 * most), 2) for c in classes])
        for classes, most in _classes_of_blocks(state)
    ]


def _of_training(opened: OpenedRun, data_dir: Path | None) -> Iterator[Pixels]:
    """For each block pictures that its classes were learned from, evenly from all of a class."""
    data, preprocessing = opened.data(data_dir), opened.state.settings.preprocessing
    stages, of_classes = itertools.count(1), list[SeenInTest]()
    for classes, most in _classes_of_blocks(opened.state):
        while len(of_classes) <= classes.max():
            splits = data.training(next(stages))
            of_classes += [SeenInTest(split, preprocessing) for split in splits]
        seen = [of_classes[c] for c in classes]
        yield np.concatenate([one.pixels(evenly(np.arange(len(one)), most)) for one in seen])


def _classes_of_blocks(state: State) -> Iterator[tuple[Indices, int]]:
    """The classes that each block is calibrated on, and on how many pictures of each."""
    known = np.cumsum(state.settings.task_sizes)
    # With statistics of its features a network stays as the first task left it.
    frozen = state.statistics() is not None
    for tasks in state.settings.tasks_of_blocks:
        end = known[0 if frozen else max(tasks)]
        classes = evenly(np.arange(end), _MOST_CLASSES)
        yield classes, max(_IMAGES_A_CLASS, -(-_LEAST_IMAGES // len(classes)))
