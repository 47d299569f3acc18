"""How weights are stored in a graph: as they are, in half precision, or in eight bits.

Only storage changes. An operator in front of each weight, Cast or DequantizeLinear, makes it
float32 again, and onnxruntime runs that operator once, while loading.

Shapes: O output channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgecil.errors import ExportError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Stored:
    """A weight as a graph holds it."""

    values: NDArray[Any]
    """float32, float16 or int8."""
    scales: Floats | None = None
    """int8 only: (O,), the value of one step in each output channel."""

    @property
    def restored(self) -> Floats:
        """What the device computes with, bit by bit."""
        values = self.values.astype(np.float32)
        if self.scales is None:
            return values
        return values * self.scales.reshape(-1, *[1] * (values.ndim - 1))


def store(weight: Floats, precision: str) -> Stored:
    """Store a weight in fp32, fp16 or int8.

    Vectors (biases, normalisation) are few and stay fp32. In int8, each output channel has a step
    of its own and zero stays zero: w ~ step * q, q in -127..127.

    Raises:
        ExportError: the weight does not fit the precision.
    """
    if precision == "fp32" or not _is_matrix(weight):
        return Stored(weight)
    if precision == "fp16":
        return Stored(to_half(weight))
    per_channel = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
    scales = (per_channel / 127).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1  # a channel of zeros, or nearly
    steps = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return Stored(np.clip(steps, -127, 127).astype(np.int8), scales)


def store_head(table: Floats, precision: str) -> Stored:
    """Store a head (C, F+1), which takes half precision in int8 too.

    Raises:
        ExportError: a value is not finite, or does not fit the precision.
    """
    if not np.isfinite(table).all():
        raise ExportError("the head holds values that are not finite; train the task again")
    return Stored(table if precision == "fp32" else to_half(table))


def to_half(weight: Floats) -> NDArray[np.float16]:
    """Round to half precision.

    Raises:
        ExportError: a value is beyond its range, 65504.
    """
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    if not np.isfinite(half).all():
        raise ExportError(
            "a weight is too large for half precision; export with --compute fp32 --weights fp32"
        )
    return half


def put_weights(model: ModelProto, stored: dict[str, Stored]) -> None:
    """Replace the initialisers of `model` that `stored` names, adding operators where needed."""
    initialisers = [tensor for tensor in model.graph.initializer if tensor.name not in stored]
    nodes = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(initialisers)
    for name, weight in stored.items():
        tensors, restoring = _initialisers(name, weight)
        model.graph.initializer.extend(tensors)
        model.graph.node.extend(restoring)
    model.graph.node.extend(nodes)


def _initialisers(name: str, weight: Stored) -> tuple[list[TensorProto], Iterable[Any]]:
    if weight.values.dtype == np.float32:
        return [numpy_helper.from_array(weight.values, name)], ()
    stored_name = f"{name}.{weight.values.dtype}"
    tensor = numpy_helper.from_array(weight.values, stored_name)
    if weight.scales is None:
        return [tensor], [helper.make_node("Cast", [stored_name], [name], to=TensorProto.FLOAT)]
    scales_name = f"{name}.scales"
    scales = numpy_helper.from_array(weight.scales, scales_name)
    node = helper.make_node("DequantizeLinear", [stored_name, scales_name], [name], axis=0)
    return [tensor, scales], [node]


def _is_matrix(weight: Floats) -> bool:
    return weight.ndim >= 2 and weight.size > max(weight.shape)
