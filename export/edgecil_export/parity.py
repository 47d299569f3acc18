"""Does the bundle say what the network says? Asked of the very file, through the device's reader.

Shapes: N images, S image size, C classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil.errors import ExportError
from edgecil.memory.state import State
from edgecil.pictures.sequences import SeenInTest
from edgecil.work import work
from edgecil_devices.classifier import Classifier
from edgecil_export.evenly import evenly

Pixels = NDArray[np.uint8]
Logits = Callable[[Pixels], NDArray[np.float32]]
"""Pixels (N, S, S, 3) -> logits (N, C)."""

MOST_IMAGES = 256
TOLERANCE = 1e-4
"""Largest difference between two ways of summing the same float32 products, as a part of the
largest logit."""
LEAST_AGREEMENT = {"fp32": 0.99, "fp16": 0.99, "int8": 0.95}
"""Least part of the images whose class stays the same when weights are rounded."""
_BATCH = 32


@dataclass(frozen=True)
class Parity:
    """How a bundle compares with the network it was made from."""

    images: int
    """Images compared."""
    real: bool
    """Whether they were exemplars; a state without any is compared on noise."""
    max_difference: float
    """Largest difference of a logit between the bundle and torch with the same weights."""
    agreeing: int
    """Images whose class is that of the network with its own weights."""


def comparison_images(state: State) -> tuple[Pixels, bool]:
    """At most 256 exemplars, of all classes, decoded; or noise, if the state keeps none.

    Returns:
        Pixels (N, S, S, 3), and whether they are exemplars.
    """
    kept = len(state.exemplars)
    if kept:
        seen = SeenInTest(state.exemplars.pictures, state.settings.preprocessing)
        return seen.pixels(evenly(np.arange(kept), MOST_IMAGES)), True
    size = state.settings.image_size_px
    noise = np.random.default_rng(0).integers(0, 256, (MOST_IMAGES // 4, size, size, 3), np.uint8)
    return noise, False


def require_parity(
    bundle: Path, same_weights: Logits, original: Logits, pixels: Pixels, *, real: bool
) -> Parity:
    """Compare the bundle's logits with torch's, twice.

    Args:
        bundle: the file.
        same_weights: the network with the weights as the bundle has them, rounded likewise.
        original: the network as the state has it.
        pixels: images to compare on.
        real: whether these are real pictures, on which rounding must not change the answers.

    Raises:
        ExportError: the bundle computes something else, or its weights are rounded too far.
    """
    classifier = Classifier.load(bundle, compute=None)  # what it is, not what may be faster here
    largest_logit, max_difference, agreeing = 1.0, 0.0, 0
    with work("checking the bundle", len(pixels)) as done:
        for batch in _batches(pixels):
            ours, expected = classifier.logits(batch), same_weights(batch)
            max_difference = max(max_difference, float(np.abs(ours - expected).max()))
            largest_logit = max(largest_logit, float(np.abs(expected).max()))
            agreeing += int((ours.argmax(axis=1) == original(batch).argmax(axis=1)).sum())
            done(len(batch))
    if not max_difference <= TOLERANCE * largest_logit:  # also when it is not a number
        raise ExportError(
            f"the bundle's logits differ from the network's by {max_difference:.1e}, more than "
            f"{TOLERANCE:.0e} of the largest; nothing was written, please report this"
        )
    weights = classifier.manifest.weights
    if classifier.manifest.compute != "fp32":  # what that costs is measured apart
        return Parity(len(pixels), real, max_difference, agreeing)
    if real and agreeing < LEAST_AGREEMENT[weights] * len(pixels):
        raise ExportError(
            f"with {weights} weights only {agreeing} of {len(pixels)} exemplars keep their class; "
            "nothing was written, export with more precise --weights"
        )
    return Parity(len(pixels), real, max_difference, agreeing)


def _batches(pixels: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(pixels), _BATCH):
        yield pixels[start : start + _BATCH]
