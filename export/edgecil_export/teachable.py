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
from edgecil_devices.closed_form import ClassStatistics, Floats
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
_MOST_BLENDS = 1000


def features_for_teaching(opened: OpenedRun) -> str:
    """What the statistics are to be of: `OF_BLOCKS` or `OF_TRUNK`."""
    # Without exemplars there are only the statistics that the state keeps, and those are of blocks.
    of_trunk = opened.network.frozen_trunk and opened.state.statistics() is None
    return OF_TRUNK if of_trunk else OF_BLOCKS


def known_classes(state: State, features: Network) -> KnownClasses:
    """Means and covariance of the features of the exemplars, or those that the state itself keeps.

    Shrinkage and tau are the usual ones.

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
        statistics.shrinkage,
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


def blended_logits(sample: Sample, contents: Contents) -> NDArray[np.float32]:
    """What a bundle says of blends, means of two pictures of different classes.

    Args:
        sample: pictures that were not trained on.
        contents: the bundle's.

    Returns:
        (B, C), B at most 1,000, and 0 where there is only one class.
    """
    first, second = blended_pairs(sample.labels)
    found = [np.zeros((0, len(contents.head.restored)), np.float32)]
    for start in range(0, len(first), _BATCH):
        pair = [
            sample.pictures.pixels(sample.indices[places[start : start + _BATCH]])
            for places in (first, second)
        ]
        blends = (pair[0].astype(np.uint16) + pair[1]) // 2
        found.append(contents.logits(blends.astype(np.uint8)))
    return np.concatenate(found)


def blended_pairs(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the pictures (B,) that are blended, and of their partners (B,)."""
    random, count = np.random.default_rng(0), len(labels)
    first, second = (random.permutation(count)[:_MOST_BLENDS] for _ in range(2))
    apart = labels[first] != labels[second]
    return first[apart], second[apart]


def unknown_facts(held_out: HeldOutAnswers, blended: NDArray[np.float32]) -> UnknownFacts:
    """Quantiles of the energy, and how well it tells what is none of the classes.

    Nobody has pictures of all that a device may see, so blends stand for it: like pictures in
    everything but what they show. An estimate, but the pictures of a class whose row is taken from
    the head, as was done before, say less: the network was made to tell them from all others.

    Args:
        held_out: of pictures of the classes.
        blended: (B, C), logits of blends; where there are none, nothing is told apart.
    """
    known, blends = (log_sum_exp(some.astype(np.float64)) for some in (held_out.logits, blended))
    quantiles = np.quantile(known, np.linspace(0, 1, 101))
    return UnknownFacts(
        tuple(float(np.round(value, 4)) for value in quantiles),
        round(area_under_curve(known, blends), 4) if len(blends) else 0.5,
        len(known),
    )


def area_under_curve(known: Floats, unknown: Floats) -> float:
    """The chance that a known picture has a higher score than an unknown one; ties count half."""
    order = np.sort(unknown)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / (2 * len(unknown)))
