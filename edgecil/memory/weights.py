"""Weight encodings: a module as one small file, in fp32, fp16, or int8 per output channel.

A file holds flat tensors, each the concatenation, in the order of `state_dict`, of all tensors of a
kind; which element belongs where is known to the module that reads them, so no byte is spent on it:

    weights   all tensors of two or more dimensions; their type tells the precision
    scales    with int8 only: one fp32 number per row (output channel) of those tensors
    vectors   all others in fp32: biases, and BatchNorm's weights, means and variances

BatchNorm's count of batches is left out: with a momentum, as here, training never reads it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecil.errors import StateCorruptError, TrainingError, UsageError
from edgecil.memory.precisions import PRECISIONS
from edgecil.memory.tensorfile import Array, file_size, read_tensors, write_tensors

Floats = NDArray[np.float32]

_FP32 = PRECISIONS["fp32"]
_LARGEST_CODE = np.float32(127)
_SMALLEST_PEAK = np.float32(2.0**-112)
"""A row of weights below this in magnitude is kept as zeros; its scale would lose precision."""


def encode(module: nn.Module, precision: str) -> bytes:
    """The weights and buffers of `module`, on any device, as the bytes of one file.

    The same weights give the same bytes, and so do those that `decode_into` reads back from them.

    Raises:
        UsageError: an unknown precision.
        TrainingError: a weight is not finite, or too large for the precision.
    """
    dtype = _dtype_of(precision)
    vectors = _joined([tensor for tensor in _tensors(module) if tensor.ndim < 2])
    weights = _joined([tensor for tensor in _tensors(module) if tensor.ndim >= 2])
    if not (np.isfinite(vectors).all() and np.isfinite(weights).all()):
        raise TrainingError(
            "the network has weights that are not finite numbers; "
            "begin another run with a lower --learning-rate"
        )
    tensors: dict[str, Array] = {"vectors": vectors}
    with np.errstate(over="ignore"):  # what overflows is reported below
        if precision == "int8":
            tensors["weights"], tensors["scales"] = _quantised(weights, _row_sizes(module))
            largest = tensors["scales"] * _LARGEST_CODE
        else:
            largest = tensors["weights"] = weights.astype(dtype)
    if not np.isfinite(largest).all():
        raise TrainingError(
            f"the network has weights that are too large for {precision}; begin another run with "
            "--state-precision fp32, or with a lower --learning-rate"
        )
    return write_tensors(tensors)


def decode_into(module: nn.Module, blob: bytes) -> None:
    """Set the weights and buffers of `module`, on any device, to those that `blob` holds.

    The blob tells its precision. BatchNorm's counts of batches stay as they are.

    Raises:
        StateCorruptError: `blob` is altered, or of another kind of module; `module` is unchanged.
    """
    tensors = read_tensors(blob)
    shapes = {name: (tensor.dtype, len(tensor)) for name, tensor in tensors.items()}
    precisions = [p for p in PRECISIONS if shapes == _shapes(module, p)]
    if not precisions:
        raise StateCorruptError(
            "a file of weights does not fit the network; it is altered, or belongs to another run"
        )
    weights = tensors["weights"].astype(_FP32)
    if precisions == ["int8"]:
        weights *= np.repeat(tensors["scales"], _row_sizes(module))
    rest = {True: torch.from_numpy(weights), False: torch.from_numpy(tensors["vectors"].copy())}
    with torch.no_grad():
        for tensor in _tensors(module):
            kind = tensor.ndim >= 2
            tensor.copy_(rest[kind][: tensor.numel()].view_as(tensor))
            rest[kind] = rest[kind][tensor.numel() :]


def round_to(module: nn.Module, precision: str) -> None:
    """Give a module the very weights that will be read back of it.

    Args:
        module: is changed.
        precision: as of `encode`.
    """
    decode_into(module, encode(module, precision))


def encoded_size(module: nn.Module, precision: str) -> int:
    """The length of `encode(module, precision)`; a module on the meta device has one, too.

    Raises:
        UsageError: an unknown precision.
    """
    return file_size(_shapes(module, precision))


def _dtype_of(precision: str) -> np.dtype[Any]:
    if precision not in PRECISIONS:
        raise UsageError(
            f"unknown precision of weights {precision!r}; choose one of: {', '.join(PRECISIONS)}"
        )
    return PRECISIONS[precision]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [
        tensor
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]


def _shapes(module: nn.Module, precision: str) -> dict[str, tuple[np.dtype[Any], int]]:
    dtype, tensors = _dtype_of(precision), _tensors(module)
    shapes = {
        "vectors": (_FP32, sum(tensor.numel() for tensor in tensors if tensor.ndim < 2)),
        "weights": (dtype, sum(tensor.numel() for tensor in tensors if tensor.ndim >= 2)),
    }
    if precision == "int8":
        shapes["scales"] = (_FP32, len(_row_sizes(module)))
    return shapes


def _row_sizes(module: nn.Module) -> NDArray[np.int64]:
    """Elements of every row of every tensor of two or more dimensions, in order."""
    matrices = [tensor for tensor in _tensors(module) if tensor.ndim >= 2]
    sizes = np.array([tensor[0].numel() for tensor in matrices], np.int64)
    return np.repeat(sizes, [len(tensor) for tensor in matrices])


def _joined(tensors: list[Tensor]) -> Floats:
    flat = [tensor.detach().to("cpu", torch.float32).reshape(-1) for tensor in tensors]
    joined: Floats = torch.cat([torch.empty(0, dtype=torch.float32), *flat]).numpy()
    return joined


def _quantised(weights: Floats, row_sizes: NDArray[np.int64]) -> tuple[NDArray[np.int8], Floats]:
    """Round each row to codes in -127..127 times a scale that gives its peak the code 127.

    Scales are rounded up to 17 significant bits. A code has 7, so that code * scale is exact in
    fp32, and encoding what was decoded finds the same scale and the same codes again.
    """
    starts = np.cumsum(row_sizes) - row_sizes
    peaks = np.maximum.reduceat(np.abs(weights), starts)
    peaks[peaks < _SMALLEST_PEAK] = 0
    scales = (((peaks / _LARGEST_CODE).view(np.uint32) + 0x7F) & ~np.uint32(0x7F)).view(np.float32)
    divisors = np.where(scales > 0, scales, np.float32(1))
    codes = np.rint(weights / np.repeat(divisors, row_sizes)).astype(np.int8)
    return codes, scales
