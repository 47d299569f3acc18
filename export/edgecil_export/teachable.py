"""What a bundle brings for devices that are taught: statistics of its classes, and thresholds.

The statistics are of the exemplars, with the very features that the bundle computes: whatever a
task has changed in the network is in them, and nothing has to be carried from task to task.

Where the trunk comes pretrained and is never trained, they are of its feature map, averaged over
all positions: it was made for a thousand classes, and blocks for the few of one task. New classes
of CIFAR-100 taught beside known ones (EfficientNet-Lite0), percent of all test pictures, with the
features of trunk and of blocks: 4 of 5 pictures each beside 10 known ones 75 and 60, of 20 pictures
76 and 62; 10 beside 30 known ones 62 and 56, and 66 and 59.

Measured on ResNet-14, 30 classes: with 20 pictures a class taught classes come out as with 200
(total accuracy 39.0 and 39.3).

Thresholds come from pictures that were not trained on, since a network is surer of those that were.
So does what `teaching_choice` decides.

Shapes: N images, F features, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecil.errors import ExportError
from edgecil.memory.state import State
from edgecil.pictures.sequences import SeenInTest
from edgecil_devices.closed_form import ClassStatistics, Floats, shrinkage_for
from edgecil_devices.teaching.head import Covariance, KnownClasses, log_sum_exp
from edgecil_devices.teaching.statistics import MOST_DIRECTIONS
from edgecil_devices.teaching_facts import OF_BLOCKS, OF_TRUNK, UnknownFacts
from edgecil_export.accuracy_loss import Sample
from edgecil_export.contents import Contents
from edgecil_export.opened_run import OpenedRun
from edgecil_export.parity import Pixels

STATISTICS_NAME = "statistics.npy"

TAU = 0.5
"""How much taught classes weigh if nothing else was measured to be better: at 0.25 they are found
half as often, and old ones lose 2 points less (ResNet-14, ten classes of 20 pictures beside 30)."""

Network = Callable[[Pixels], NDArray[np.float32]]
"""Features of pictures."""

_BATCH = 64


def features_for_teaching(opened: OpenedRun) -> str:
    """What the statistics are to be of: `OF_BLOCKS` or `OF_TRUNK`."""
    # Without exemplars there are only the statistics that the state keeps, and those are of blocks.
    of_trunk = opened.network.frozen_trunk and opened.state.statistics() is None
    return OF_TRUNK if of_trunk else OF_BLOCKS


def known_classes(state: State, features: Network) -> KnownClasses:
    """Means and covariance of the features of the exemplars, or those that the state itself keeps.

    The shrinkage and tau are those that are usual for so many features.

    Args:
        state: of the run.
        features: pixels (N, S, S, 3) -> (N, F), what `features_for_teaching` says.

    Raises:
        ExportError: a class has no exemplar.
    """
    statistics = state.statistics() or _of_exemplars(state, features)
    return KnownClasses(
        statistics.means,
        statistics.counts.astype(np.float64),
        Covariance.of(statistics.covariance, MOST_DIRECTIONS),
        shrinkage_for(statistics.feature_count),
        TAU,
    )


def _of_exemplars(state: State, features: Network) -> ClassStatistics:
    by_class = state.exemplars.by_class()
    found: ClassStatistics | None = None
    for label, pictures in enumerate(by_class):
        if not len(pictures):
            raise ExportError(
                "a bundle is made teachable from exemplars, and the state keeps none of "
                f"{state.settings.classes[label]!r}; export without --teachable"
            )
        seen = SeenInTest(pictures, state.settings.preprocessing)
        for indices in np.split(np.arange(len(pictures)), range(_BATCH, len(pictures), _BATCH)):
            computed = features(seen.pixels(indices))
            found = (found or ClassStatistics.empty(computed.shape[1])).added(computed, label)
    assert found is not None  # a state knows at least one class
    return found


@dataclass(frozen=True)
class HeldOutAnswers:
    """What a bundle says of pictures that it was not trained on."""

    features: NDArray[np.float32]
    """(N, F), what the statistics are of."""
    logits: NDArray[np.float32]
    """(N, C)."""
    labels: NDArray[np.int64]
    """(N,)."""


def held_out_answers(sample: Sample, contents: Contents, of: str) -> HeldOutAnswers:
    """Let the bundle say it.

    Args:
        sample: pictures that were not trained on.
        contents: the bundle's.
        of: what the statistics are of, `OF_BLOCKS` or `OF_TRUNK`.
    """
    found = []
    for start in range(0, len(sample.indices), _BATCH):
        pixels = sample.pictures.pixels(sample.indices[start : start + _BATCH])
        head_features = contents.head_features(pixels)
        features = contents.map_means(pixels) if of == OF_TRUNK else head_features
        found.append((features, contents.head_logits(head_features)))
    of_features, of_logits = (np.concatenate(part) for part in zip(*found, strict=True))
    return HeldOutAnswers(of_features, of_logits, sample.labels)


def unknown_facts(held_out: HeldOutAnswers) -> UnknownFacts:
    """Quantiles of the energy, and how well it tells what is left out.

    A class is left out by taking its row from the head: its pictures are then unknown. That is an
    easier question than a thing the network has never seen, so it is an upper bound.
    """
    logits, labels = held_out.logits.astype(np.float64), held_out.labels
    energies = log_sum_exp(logits)
    quantiles = np.quantile(energies, np.linspace(0, 1, 101))
    areas = []
    for left_out in np.unique(labels):
        rest = log_sum_exp(np.delete(logits, left_out, axis=1))
        unknown = labels == left_out
        areas.append(area_under_curve(rest[~unknown], rest[unknown]))
    return UnknownFacts(
        tuple(float(np.round(value, 4)) for value in quantiles),
        round(float(np.mean(areas)), 4),
        len(labels),
    )


def area_under_curve(known: Floats, unknown: Floats) -> float:
    """The chance that a known picture has a higher score than an unknown one; ties count half."""
    order = np.sort(unknown)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / (2 * len(unknown)))
