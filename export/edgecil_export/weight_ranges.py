"""How far the weights of a quantised convolution reach, channel by channel.

Processors without a dot product of bytes add two products in 16 bits. So that all processors agree,
weights usually take 7 of their 8 bits. Depthwise networks lose too much by that (EfficientNet-Lite0
at 128 px, ten classes of CIFAR-100: its feature map is off by 27 % on average, and by 18 and 14 %
with the two rules below; by 13 % with all 8 bits everywhere). There is more room:

- A depthwise convolution has kernels of its own, which add in 32 bits: it takes all 8 bits.
- In a 1x1 convolution only the products of two neighbouring input channels meet in 16 bits, 2k and
  2k + 1. Two weights whose magnitudes add up to 128 at most cannot overflow: 255 * 128 < 2^15.

Shapes: O output channels, I input channels.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto

Floats = NDArray[np.float32]
Ranges = dict[str, list[dict[str, Any]]]

_LARGEST, _LARGEST_PAIR = 127, 128
_LEAST_PART = 2.0**-13
"""Of the largest weight of a convolution, how far each channel reaches at least. Pretrained trunks
have channels of zeros, or nearly, whose bias in steps of theirs would not fit 32 bits."""


def weight_ranges(graph: GraphProto, in_float: Collection[str]) -> Ranges:
    """The ranges of weights for a graph with depthwise convolutions, as onnxruntime takes them.

    Args:
        graph: in float32.
        in_float: names of the nodes that stay so.

    Returns:
        For each weight by its name a range for each output channel; of other graphs nothing, and
        all their weights take 7 bits.
    """
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if not any(map(_groups, convolutions)):
        return {}
    tensors = {t.name: t for t in graph.initializer}
    found: Ranges = {}
    for node in convolutions:
        weight, groups = onnx.numpy_helper.to_array(tensors[node.input[1]]), _groups(node)
        depthwise = groups == len(weight) and weight.shape[1] == 1
        pointwise = not groups and weight.shape[2:] == (1, 1)
        if node.name not in in_float and (depthwise or pointwise):
            found[node.input[1]] = [_range(reach) for reach in _reaches(weight)]
    return found


def _reaches(weight: Floats) -> Floats:
    """The largest magnitude that each channel (O,) has to hold."""
    magnitudes = np.abs(weight.reshape(len(weight), -1))
    reaches = magnitudes.max(axis=1)
    if weight.shape[1] > 1:
        even = np.pad(magnitudes, ((0, 0), (0, magnitudes.shape[1] % 2)))
        pairs = (even[:, ::2] + even[:, 1::2]).max(axis=1)
        reaches = np.maximum(reaches, pairs * _LARGEST / _LARGEST_PAIR)
    smallest = float(np.finfo(np.float32).tiny) / _LEAST_PART
    found: Floats = np.maximum(reaches, max(float(reaches.max()) * _LEAST_PART, smallest))
    return found.astype(np.float32)


def _range(reach: np.float32) -> dict[str, Any]:
    return {
        "axis": 0,
        "symmetric": True,
        "reduce_range": False,
        "rmin": -reach,
        "rmax": reach,
    }


def _groups(node: NodeProto) -> int:
    """How many groups a convolution has; 0 if it has but one."""
    return next((a.i for a in node.attribute if a.name == "group" and a.i > 1), 0)
