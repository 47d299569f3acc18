"""Class statistics as one small file: in fp32 in states of that precision, and in fp16 in others.

    counts     uint32, (C,)
    means      (C * F,), class by class, divided by the first scale
    triangle   (F * (F + 1) / 2,), the covariance's lower one, row by row, divided by the second
    scales     fp32, (2,), powers of two, so that dividing rounds nothing and nothing overflows fp16

On 1280 features fp16 loses no accuracy (CIFAR-100), and it is half of the bytes.

Shapes: F features, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil.errors import StateCorruptError
from edgecil.memory.tensorfile import Array, file_size, read_tensors, write_tensors
from edgecil_devices.closed_form import ClassStatistics, Floats

STATISTICS_FILE = "statistics.safetensors"
"""Its name in a state."""

_LARGEST_EXPONENT = 15
"""Scaled values lie below 2 to this power; fp16 ends just below 2^16."""


def encode(statistics: ClassStatistics, precision: str) -> bytes:
    """The statistics as the bytes of one file; the same statistics give the same bytes.

    Args:
        statistics: of every class, of finite features.
        precision: of the state's weights.
    """
    rows, columns = np.tril_indices(statistics.feature_count)
    parts = {
        "means": statistics.means.reshape(-1),
        "triangle": statistics.covariance[rows, columns],
    }
    scales = [_scale_of(part) for part in parts.values()]
    tensors: dict[str, Array] = {
        name: (part / scale).astype(_dtype_in(precision))
        for (name, part), scale in zip(parts.items(), scales, strict=True)
    }
    counts = statistics.counts.astype(np.uint32)
    return write_tensors(tensors | {"counts": counts, "scales": np.array(scales, np.float32)})


def decode(blob: bytes, class_count: int, feature_count: int) -> ClassStatistics:
    """The reverse of `encode`, but for what the precision rounds.

    Args:
        blob: the file.
        class_count: C of the state.
        feature_count: F of its network.

    Raises:
        StateCorruptError: `blob` is altered, of other classes or another network, or holds what no
            pictures can have.
    """
    tensors = read_tensors(blob)
    shapes = {name: (tensor.dtype, len(tensor)) for name, tensor in tensors.items()}
    if shapes not in [_shapes(class_count, feature_count, kept) for kept in ("fp32", "fp16")]:
        raise StateCorruptError(
            f"{STATISTICS_FILE} does not fit the state's classes and network; "
            "restore the run from a copy"
        )
    mean_scale, covariance_scale = tensors["scales"].astype(np.float64)
    counts = tensors["counts"].astype(np.int64)
    means: Floats = tensors["means"].astype(np.float64).reshape(class_count, -1) * mean_scale
    rows, columns = np.tril_indices(feature_count)
    covariance = np.zeros((feature_count, feature_count))
    covariance[rows, columns] = tensors["triangle"].astype(np.float64) * covariance_scale
    covariance[columns, rows] = covariance[rows, columns]
    whole = np.isfinite(means).all() and np.isfinite(covariance).all() and counts.all()
    if not (whole and (np.diag(covariance) >= 0).all()):
        raise StateCorruptError(
            f"{STATISTICS_FILE} holds numbers that no pictures have; restore the run from a copy"
        )
    return ClassStatistics(means, counts, covariance * max(int(counts.sum()) - class_count, 1))


def encoded_size(class_count: int, feature_count: int, precision: str) -> int:
    """The length of `encode` of so many classes and features."""
    return file_size(_shapes(class_count, feature_count, precision))


def _dtype_in(precision: str) -> np.dtype[Any]:
    return np.dtype(np.float32 if precision == "fp32" else np.float16)


def _shapes(
    class_count: int, feature_count: int, precision: str
) -> dict[str, tuple[np.dtype[Any], int]]:
    dtype = _dtype_in(precision)
    return {
        "counts": (np.dtype(np.uint32), class_count),
        "means": (dtype, class_count * feature_count),
        "triangle": (dtype, feature_count * (feature_count + 1) // 2),
        "scales": (np.dtype(np.float32), 2),
    }


def _scale_of(values: NDArray[np.float64]) -> float:
    """The power of two that brings the largest magnitude just below 2 to `_LARGEST_EXPONENT`."""
    peak = float(np.abs(values).max(initial=0))
    if peak == 0:
        return 1.0
    exponent = int(np.frexp(peak)[1]) - _LARGEST_EXPONENT
    return float(2.0 ** np.clip(exponent, -100, 100))
