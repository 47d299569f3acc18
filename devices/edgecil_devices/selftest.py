"""The self-test: does this device say of the golden samples what the workstation said?"""

from dataclasses import dataclass

import numpy as np

from edgecil_devices.bundle import Bundle
from edgecil_devices.errors import SelfTestError
from edgecil_devices.golden import golden_of
from edgecil_devices.runtime import Runtime


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found."""

    samples: int
    """Golden samples compared; a bundle without any was run on one grey picture."""
    max_difference: float
    """Largest difference from a golden logit, as a part of the largest of these."""


def self_test(bundle: Bundle, threads: int | None = None) -> SelfTest:
    """Run a bundle on its golden samples, in the numbers that its manifest names.

    Args:
        bundle: what to test.
        threads: how many threads may compute at once; None: as the profile has it.

    Raises:
        SelfTestError: this device gives other logits than the workstation.
        BundleError: the bundle cannot be run at all.
    """
    runtime = Runtime(bundle, threads)
    golden = golden_of(bundle)
    if golden is None:
        size = bundle.manifest.preprocessing.image_size_px
        runtime.run(np.full((1, size, size, 3), 128, np.uint8))
        return SelfTest(0, 0.0)
    difference = golden.difference(runtime.run(golden.pixels).logits)
    if not difference <= bundle.manifest.tolerance:
        raise SelfTestError(
            f"the golden samples' logits differ by {difference:.1e} of the largest, more than "
            f"{bundle.manifest.tolerance:.1e}: this processor or onnxruntime computes something "
            "else than the workstation; install another version of onnxruntime"
        )
    return SelfTest(len(golden.pixels), difference)
