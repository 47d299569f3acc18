"""Graphs that compute in eight bits: static quantisation, calibrated on pictures.

Activations are unsigned with a zero point, weights are signed and symmetric with a step for each
output channel. Weights take 7 of their 8 bits: processors without a dot product of bytes add pairs
of products in 16 bits, which 8 bits can overflow. So all processors compute the same. Networks with
depthwise convolutions need the last bit; `weight_ranges` says where they can have it.

What comes before the first convolution, and that one itself, stay float32: with three channels in,
bytes are slower there (33 us for 12 in a ResNet32, x86-64 with VNNI), and the picture is what the
network is most sensitive to.

Shapes: N images, S image size, K blocks.
"""

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from edgecil.work import work
from edgecil_devices._onnxruntime import Graph
from edgecil_export.graphs import check_graph, strip
from edgecil_export.weight_ranges import weight_ranges

INT8_TOLERANCE = 0.02
"""How far a device's logits may lie from golden ones, as a part of the largest: where a sum falls
between two steps, another processor might take the other one."""

_BATCH = 32
_QUANTISED = ("Add", "Clip", "Conv", "MaxPool", "Relu")
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Says that nothing is left to fold or infer, which onnxruntime would otherwise complain about."""

Pixels = NDArray[np.uint8]


class Step(NamedTuple):
    """How a tensor is rounded: value = scale * (byte - zero_point)."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.uint8]


def quantised_graphs(graphs: Mapping[str, bytes], pixels: Sequence[Pixels]) -> dict[str, bytes]:
    """A bundle's graphs for computing in eight bits.

    Args:
        graphs: the trunk and then K blocks by name, in float32.
        pixels: K times (N, S, S, 3), pictures for each block; the trunk gets the first block's.

    Raises:
        ExportError: a graph has an operator that bundles may not have.
    """
    (trunk_name, trunk), *blocks = graphs.items()
    trunk = quantised(trunk, pixels[0])
    found = {trunk_name: trunk}
    graph, step = Graph(trunk, trunk_name, compute="int8"), _output_step(trunk)
    with work("calibrating int8", len(blocks)) as done:
        for (name, block), of_block in zip(blocks, pixels, strict=True):
            # Blocks are calibrated on what they will get, rounding included.
            feature_map = np.concatenate([graph.run(batch)[0] for batch in _batches(of_block)])
            found[name] = quantised(block, feature_map, step)
            done(1)
    return found


def quantised(model: bytes, values: NDArray[Any], step: Step | None = None) -> bytes:
    """One graph for computing in eight bits; equal inputs give equal bytes.

    Args:
        model: in float32.
        values: what goes into it, (N, ...).
        step: what these values were rounded to, if they were.

    Raises:
        ExportError: the graph has an operator that bundles may not have.
    """
    # Imported here because it must come after edgecil_devices._onnxruntime.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    original = onnx.load_from_string(model)
    source, in_float = original.graph.input[0].name, _in_float(original)
    if len(in_float) == len(original.graph.node):
        return model
    overrides = weight_ranges(original.graph, in_float)
    if step:
        overrides[source] = [step._asdict()]
    prepared = copy.deepcopy(original)
    onnx.helper.set_model_props(prepared, _PREPARED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        quantize_static(
            prepared,
            path,
            _Reader(source, values),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=in_float,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": overrides},
        )
        result = onnx.load(path)
    strip(result)
    check_graph(result)
    return bytes(result.SerializeToString(deterministic=True))


def _output_step(model: bytes) -> Step | None:
    """How a graph's output is rounded, if it is.

    A block that rounded its input in other steps would compute something else where onnxruntime
    makes one rounding of the two, as it does in a graph of trunk and block.
    """
    graph = onnx.load_from_string(model).graph
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    if last.op_type != "DequantizeLinear":
        return None
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    return Step(*(tensors[name] for name in last.input[1:]))


def _in_float(model: ModelProto) -> list[str]:
    """The nodes to leave alone: in a graph that takes pixels, all up to the first convolution."""
    if model.graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return []
    names = [node.name for node in model.graph.node]
    kinds = [node.op_type for node in model.graph.node]
    return names[: kinds.index("Conv") + 1] if "Conv" in kinds else names


class _Reader:
    """Gives the calibration its batches, by the one method that onnxruntime asks for."""

    def __init__(self, name: str, values: NDArray[Any]) -> None:
        self._name, self._left = name, _batches(values)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._left, None)
        return None if batch is None else {self._name: batch}


def _batches(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
