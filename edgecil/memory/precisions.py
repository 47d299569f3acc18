"""The precisions in which a state keeps weights."""

from typing import Any

import numpy as np

PRECISIONS: dict[str, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}
"""Every precision, and the type in which it keeps weights."""
