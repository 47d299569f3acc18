"""Golden samples: a few pictures, and what the network says of them, for a device to check itself.

Shapes: G samples, S image size, C classes.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil.memory.state import State
from edgecil.pictures.sequences import SeenInTest
from edgecil_devices.blobs import GOLDEN_LOGITS, GOLDEN_PIXELS

Pixels = NDArray[np.uint8]

NAMES = {GOLDEN_PIXELS: "golden-pixels.npy", GOLDEN_LOGITS: "golden-logits.npy"}
_MOST_SAMPLES = 4
_MOST_BYTES = 100_000
"""One sample there always is."""


def golden_pixels(state: State) -> Pixels:
    """The first exemplars of classes of the first task, (G, S, S, 3); noise if there are none.

    They are seen as a device sees pictures.

    They are the same after every later task, so that an update need not carry them.
    """
    size = state.settings.image_size_px
    count = max(1, min(_MOST_SAMPLES, _MOST_BYTES // (size * size * 3)))
    of_task = state.exemplars.by_class()[: state.settings.task_sizes[0]]
    first = [
        SeenInTest(pictures, state.settings.preprocessing) for pictures in of_task if len(pictures)
    ]
    if first:
        return np.concatenate([pictures.pixels(np.array([0])) for pictures in first[:count]])
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def npy(array: NDArray[Any]) -> bytes:
    """An array as a NumPy file of version 1.0."""
    stream = io.BytesIO()
    np.lib.format.write_array(
        stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
    )
    return stream.getvalue()
