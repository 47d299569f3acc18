"""Logits of pictures by a computation; `computation_accuracy.py` has it run on emulated boards.

computation_accuracy_guest.py BUNDLE COMPUTATION PIXELS.npy LOGITS.npy
"""

import sys

import numpy as np
from numpy.typing import NDArray

from chosen_runtime import runtime_in
from edgecil_devices import read_bundle
from edgecil_devices.runtime import Runtime

BATCH = 50


def logits_of(runtime: Runtime, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures (N, S, S, 3) -> (N, C)."""
    parts = np.array_split(pixels, -(-len(pixels) // BATCH))
    return np.concatenate([runtime.run(part).logits for part in parts])


if __name__ == "__main__":
    bundle, compute, taken, given = sys.argv[1:]
    np.save(given, logits_of(runtime_in(read_bundle(bundle), compute), np.load(taken)))
