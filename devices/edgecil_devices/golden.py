"""Golden samples: a few pictures, and what the workstation said of them.

Shapes: G golden samples, S image size, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.bundle import Bundle
from edgecil_devices.errors import BundleCorruptError
from edgecil_devices.npy import read_npy

MAX_SAMPLES = 64


@dataclass(frozen=True)
class Golden:
    """The golden samples of a bundle."""

    pixels: NDArray[np.uint8]
    """(G, S, S, 3)."""
    logits: NDArray[np.float32]
    """(G, C)."""

    def difference(self, logits: NDArray[np.float32]) -> float:
        """The largest difference of `logits` (G, C), as a part of the largest golden one."""
        scale = max(1.0, float(np.abs(self.logits).max()))
        return float(np.abs(logits - self.logits).max()) / scale

    def same_classes(self, logits: NDArray[np.float32]) -> bool:
        """Whether `logits` (G, C) say the same class of each sample."""
        return bool((logits.argmax(axis=1) == self.logits.argmax(axis=1)).all())


def golden_of(bundle: Bundle) -> Golden | None:
    """The golden samples; None where a bundle has none.

    Raises:
        BundleCorruptError: they are not what they should be.
    """
    manifest = bundle.manifest
    if manifest.golden is None:
        return None
    of_pixels, of_logits = manifest.golden
    pixels = read_npy(bundle.blobs[of_pixels.name], of_pixels.name, ("|u1",))
    logits = read_npy(bundle.blobs[of_logits.name], of_logits.name, ("<f4",))
    size, samples = manifest.preprocessing.image_size_px, pixels.shape[:1]  # () of a number alone
    expected = (*samples, size, size, 3), (*samples, len(manifest.classes))
    if (pixels.shape, logits.shape) != expected or not 0 < len(pixels) <= MAX_SAMPLES:
        raise BundleCorruptError("the golden samples have other shapes; export the bundle again")
    if not np.isfinite(logits).all():
        raise BundleCorruptError("golden logits are not finite; export the bundle again")
    return Golden(pixels, logits)
