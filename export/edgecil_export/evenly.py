"""Some of many, evenly from all of them."""

import numpy as np
from numpy.typing import NDArray


def evenly(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of `indices` (N,), in their order, the first and the last among them."""
    count = min(len(indices), most)
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
