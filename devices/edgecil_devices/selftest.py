"""The self-test: does this device say of the golden samples what the workstation said?

Shapes: G golden samples, S image size, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.bundle import Bundle
from edgecil_devices.errors import BundleCorruptError, SelfTestError
from edgecil_devices.npy import read_npy
from edgecil_devices.runtime import Runtime

MAX_SAMPLES = 64


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found."""

    samples: int
    """Golden samples compared; a bundle without any was run on one grey picture."""
    max_difference: float
    """Largest difference from a golden logit, as a part of the largest of these."""


def self_test(bundle: Bundle, threads: int | None = None) -> SelfTest:
    """Run a bundle on its golden samples.

    Args:
        bundle: what to test.
        threads: how many threads may compute at once; None: as the profile has it.

    Raises:
        SelfTestError: this device gives other logits than the workstation.
        BundleError: the bundle cannot be run at all.
    """
    runtime = Runtime(bundle, threads)
    golden = _golden(bundle)
    if golden is None:
        size = bundle.manifest.preprocessing.image_size_px
        runtime.run(np.full((1, size, size, 3), 128, np.uint8))
        return SelfTest(0, 0.0)
    pixels, expected = golden
    logits = runtime.run(pixels).logits
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(logits - expected).max()) / scale
    if not difference <= bundle.manifest.tolerance:
        raise SelfTestError(
            f"the golden samples' logits differ by {difference:.1e} of the largest, more than "
            f"{bundle.manifest.tolerance:.1e}: this processor or onnxruntime computes something "
            "else than the workstation; install another version of onnxruntime"
        )
    return SelfTest(len(pixels), difference)


def _golden(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Pixels (G, S, S, 3) and logits (G, C)."""
    manifest = bundle.manifest
    if manifest.golden is None:
        return None
    of_pixels, of_logits = manifest.golden
    pixels = read_npy(bundle.blobs[of_pixels.name], of_pixels.name, ("|u1",))
    logits = read_npy(bundle.blobs[of_logits.name], of_logits.name, ("<f4",))
    size = manifest.preprocessing.image_size_px
    expected = (len(pixels), size, size, 3), (len(pixels), len(manifest.classes))
    if (pixels.shape, logits.shape) != expected or not 0 < len(pixels) <= MAX_SAMPLES:
        raise BundleCorruptError("the golden samples have other shapes; export the bundle again")
    if not np.isfinite(logits).all():
        raise BundleCorruptError("golden logits are not finite; export the bundle again")
    return pixels, logits
