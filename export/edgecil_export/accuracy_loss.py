"""What computing in eight bits costs in accuracy, measured before a bundle may say it.

Shapes: N images, S image size, C classes.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil.errors import EdgecilError, ExportError
from edgecil.pictures.batches import Pictures
from edgecil.pictures.sequences import SeenInTest
from edgecil.work import work
from edgecil_devices.manifest import Accuracy
from edgecil_export.evenly import evenly
from edgecil_export.opened_run import OpenedRun
from edgecil_export.parity import Logits
from edgecil_export.request import ExportRequest

_logger = logging.getLogger("edgecil")

MOST_IMAGES = 10_000
"""All of CIFAR's test pictures; more would take long and hardly say more. One each is added of
classes that would have none among them."""
TEST_PICTURES = "test pictures"
EXEMPLARS = "exemplars that were not calibrated on (the test pictures are not here)"

_BATCH = 64


@dataclass(frozen=True)
class Sample:
    """Pictures to measure on."""

    pictures: Pictures
    indices: NDArray[np.int64]
    """Which of the pictures count, (N,)."""
    labels: NDArray[np.int64]
    """Their classes, (N,)."""
    name: str
    """What they are, for people: `TEST_PICTURES` or `EXEMPLARS`."""


@dataclass(frozen=True)
class AccuracyLoss:
    """Accuracy of the network and of the bundle on the same pictures."""

    sample: str
    """What the pictures are."""
    images: int
    """How many."""
    network: float
    """Top-1 accuracy of the network in float32, in percent."""
    bundle: Accuracy
    """Of the bundle."""
    apart: int
    """How many pictures one of both has right and the other has not."""

    @property
    def points(self) -> float:
        """How much the bundle loses, in points of percent; negative if it gains."""
        return self.network - self.bundle.overall

    @property
    def may_be_chance(self) -> bool:
        """Whether it is within twice the deviation of chance.

        Where neither is better, each of the pictures in `apart` is as likely lost as gained.
        """
        lost = self.points / 100 * self.images
        return lost <= 2 * math.sqrt(self.apart)

    def line(self) -> str:
        """For people."""
        return (
            f"int8 compute: {self.bundle.overall:.2f} % right of {self.images} {self.sample}; "
            f"fp32: {self.network:.2f} %"
        )


def sample_for(
    opened: OpenedRun, calibrated_on: NDArray[np.int64], data_dir: Path | None
) -> Sample:
    """The run's test pictures, or the exemplars that were not calibrated on.

    Args:
        opened: the run.
        calibrated_on: positions of exemplars that must not count.
        data_dir: where built-in data sets are; nothing is downloaded.

    Raises:
        ExportError: neither is there.
    """
    if (sample := held_out_sample(opened, data_dir)) is not None:
        return sample
    state = opened.state
    left = np.setdiff1d(np.arange(len(state.exemplars)), calibrated_on)
    if len(left) == 0:
        raise ExportError(
            "there are no pictures to measure int8 compute on: no test pictures of every class, "
            "and no exemplars beyond those to calibrate on; put the test pictures back (or give "
            "--data-dir), or export with --compute fp32"
        )
    chosen = evenly(left, MOST_IMAGES)
    seen = SeenInTest(state.exemplars.pictures, state.settings.preprocessing)
    return Sample(seen, chosen, state.exemplars.labels()[chosen], EXEMPLARS)


def accuracy_loss(
    sample: Sample, network: Logits, bundle: Logits, tasks: Sequence[range]
) -> AccuracyLoss:
    """Let both classify the sample."""
    count = max(task.stop for task in tasks)
    images = np.bincount(sample.labels, minlength=count)
    right = np.zeros((2, count), np.int64)  # by class, of the network and of the bundle
    apart = 0
    with work("measuring int8", len(sample.indices)) as done:
        for start in range(0, len(sample.indices), _BATCH):
            pixels = sample.pictures.pixels(sample.indices[start : start + _BATCH])
            labels = sample.labels[start : start + _BATCH]
            hits = [logits(pixels).argmax(axis=1) == labels for logits in (network, bundle)]
            for of_one, hit in zip(right, hits, strict=True):
                np.add.at(of_one, labels, hit)
            apart += int((hits[0] != hits[1]).sum())
            done(len(pixels))
    by_network, by_bundle = right
    of_tasks = [(by_bundle[list(task)], images[list(task)]) for task in tasks]
    every_task = all(count.any() for _, count in of_tasks)
    by_task = tuple(_percent(*of_task) for of_task in of_tasks) if every_task else ()
    accuracy = Accuracy(_percent(by_bundle, images), by_task)
    whole = _percent(by_network, images)
    return AccuracyLoss(sample.name, len(sample.labels), whole, accuracy, apart)


def require_small(loss: AccuracyLoss, request: ExportRequest) -> None:
    """Check that a loss is acceptable; one that may be chance is, and one that is forced is told.

    Raises:
        ExportError: it is not, and was not forced.
    """
    if loss.points <= request.max_loss_points or loss.may_be_chance:
        return
    if not request.force:
        raise ExportError(
            f"{loss.line()}, a loss of more than {request.max_loss_points:g} points; nothing was "
            "written, export with --compute fp32, a higher --max-loss or --force"
        )
    _logger.warning(
        "%s, a loss of more than %g points; --force has it written",
        loss.line(),
        request.max_loss_points,
    )


def held_out_sample(opened: OpenedRun, data_dir: Path | None) -> Sample | None:
    """Test pictures of every class of the state, or None."""
    learned = opened.state.settings
    try:
        labelled = opened.data(data_dir).test(learned.stage)
    except (EdgecilError, OSError, ValueError):  # whatever is wrong with the data, they are missing
        return None
    there, firsts = np.unique(labelled.labels, return_index=True)
    if len(there) < len(learned.classes):
        return None
    # They come class by class, so these are evenly from each; a small class may be stepped over.
    chosen = evenly(np.arange(len(labelled.labels)), MOST_IMAGES)
    stepped_over = firsts[~np.isin(there, labelled.labels[chosen])]
    chosen = np.union1d(chosen, stepped_over)
    return Sample(labelled.pictures, chosen, labelled.labels[chosen], TEST_PICTURES)


def _percent(right: NDArray[np.int64], images: NDArray[np.int64]) -> float:
    return 100 * int(right.sum()) / int(images.sum())
