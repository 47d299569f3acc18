"""3x3 convolutions with half the multiplications: Winograd's F(4,3) down the columns, in the graph.

Four rows of a picture are computed at once from six, with 6 products instead of 12 for each column
of the kernel (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016). onnxruntime
has no such convolution, so it is written with MatMul and Gather, pixels times channels; each node
costs a board some 5,000 instructions, so there are few. Weights become twice as large. A sum of 576
products is off by up to about a millionth of the largest, where onnxruntime's own are off by a
third of that.

Shapes: N pictures, H x W pixels, C and O channels before and behind, T = H/4 tiles, rounded up.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleError
from edgecil_devices.graph_editing import (
    Editable,
    Node,
    Weight,
    integer,
    integers,
    restored,
    restores,
)
from edgecil_devices.graph_shapes import Known, Shape, result_shape
from edgecil_devices.graphs import ports

_TILE, _WINDOW = 4, 6
"""Rows that are computed at once, and those that they need."""
_LEAST_CHANNELS = 16
"""With fewer, copying takes longer than multiplying."""

_POINTS = (0.0, 0.75, -0.75, 1.25, -1.25)
"""Where polynomials are evaluated, besides at infinity. The usual 0, 1, -1, 2, -2 give twice the
error; these, too, give matrices without rounding for what comes in and goes out."""


def with_winograd(model: bytes) -> bytes:
    """The graph with its 3x3 convolutions of stride 1 written so, where channels are enough.

    Args:
        model: an ONNX file that `graph_check.check_graph` admits, or several joined ones.

    Raises:
        BundleError: it cannot be read.
    """
    graph, kernels, fitting = _read(model)
    nodes: list[Node] = []
    weights = dict(graph.weights)
    for node in graph.nodes:
        if (shape := fitting.get(node.outputs[0])) is None:
            nodes.append(node)
        else:
            _Writing(node.outputs[0], nodes, weights).convolution(node, kernels, shape)
    unused = kernels.keys() - {name for node in nodes for name in node.inputs}
    return graph.put_together((n for n in nodes if n.outputs[0] not in unused), weights)


def kernel_bytes(model: bytes) -> int:
    """What the kernels of those convolutions take in float32, before they become twice as large.

    Raises:
        BundleError: it cannot be read.
    """
    graph, kernels, fitting = _read(model)
    written = (node for node in graph.nodes if node.outputs[0] in fitting)
    return sum(kernels[node.inputs[1]].size * 4 for node in written)


def _read(model: bytes) -> tuple[Editable, dict[str, Weight], dict[str, Shape]]:
    """The graph, its weights with those restored, and what goes into the convolutions that fit."""
    graph = Editable.read(model)
    shapes = _shapes(graph, model)
    restoring = [node for node in graph.nodes if restores(node, graph.weights)]
    kernels = dict(graph.weights)
    kernels |= {node.outputs[0]: restored(node, graph.weights) for node in restoring}
    fitting = {
        node.outputs[0]: shapes[node.inputs[0]]
        for node in graph.nodes
        if _fits(node, kernels, shapes)
    }
    return graph, kernels, fitting


def _fits(node: Node, weights: dict[str, Weight], shapes: dict[str, Shape]) -> bool:
    if node.operator != "Conv" or not weights.keys() >= set(node.inputs[1:]):
        return False
    call, shape = node.call(), shapes[node.inputs[0]]
    weight = weights[node.inputs[1]]
    return (
        weight.dtype == np.float32
        and weight.shape[1:] == (shape[1], 3, 3)
        and min(weight.shape[:2]) >= _LEAST_CHANNELS
        and call.integers("group", [1]) == [1]
        and call.integers("pads", [0] * 4) == [1] * 4
        and call.integers("strides", [1, 1]) == [1, 1]
        and call.integers("dilations", [1, 1]) == [1, 1]
    )


def _shapes(graph: Editable, model: bytes) -> dict[str, Shape]:
    """Of all values, for one picture."""
    ((source,), _) = ports(model)
    sizes = (size for size in source.shape[1:] if isinstance(size, int))
    shapes: dict[str, Shape] = {source.name: (1, *sizes)}
    shapes |= {name: weight.shape for name, weight in graph.weights.items()}
    constants: dict[str, Any] = {
        name: weight.ravel().tolist() for name, weight in graph.weights.items() if weight.ndim <= 1
    }
    numbers = {n: v[0] for n, v in constants.items() if not graph.weights[n].ndim}
    known = Known(shapes, constants, numbers)
    for node in graph.nodes:
        try:
            shapes[node.outputs[0]] = result_shape(node.call(), known)
        except (ValueError, LookupError, ZeroDivisionError) as error:
            raise BundleError(f"{node.operator} has no known shape ({error})") from error
    return shapes


def _matrices() -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
    """For rows (6, 6), kernels (6, 3) and products (4, 6): Toom and Cook's, transposed."""
    powers = np.vander(_POINTS, _TILE, increasing=True)  # (5, 4)
    kernels = np.vstack([powers[:, :3], [0, 0, 1]])
    products = np.vstack([powers, [0, 0, 0, 1]]).T
    rows = np.zeros((_WINDOW, _WINDOW))
    for index, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        rows[index, :-1] = np.poly(others)[::-1] / np.prod([point - one for one in others])
    rows[-1] = np.poly(_POINTS)[::-1]
    return rows.astype(np.float32), kernels, products.astype(np.float32)


_OF_ROWS, _OF_KERNELS, _OF_PRODUCTS = _matrices()


class _Writing:
    """Writes nodes and weights, whose names begin with that of what is computed."""

    def __init__(self, name: str, nodes: list[Node], weights: dict[str, Weight]) -> None:
        self._name, self._nodes, self._weights = name, nodes, weights
        self._count = 0

    def convolution(self, node: Node, weights: dict[str, Weight], shape: Shape) -> None:
        """From (N, C, H, W) to (N, O, H, W)."""
        kernel = weights[node.inputs[1]].astype(np.float64)  # (O, C, 3, 3)
        bias = weights[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
        (channels, height, width), outputs = shape[1:], kernel.shape[0]
        tiles = -(-height // _TILE)
        transformed = np.einsum("ik,ockj->ijco", _OF_KERNELS, kernel)  # (6, 3, C, O)
        matrices = transformed.reshape(_WINDOW, -1, outputs).astype(np.float32)
        windows = self._windows(node.inputs[0], channels, height, width)
        products = self._add("MatMul", [windows, self._weight(matrices)])  # (N, 6, TW, O)
        flat = self._reshaped(products, [-1, _WINDOW, tiles * width * outputs])
        found = self._add("MatMul", [self._weight(_OF_PRODUCTS), flat])  # (N, 4, TWO)
        found = self._reshaped(found, [-1, _TILE, tiles, width, outputs])
        found = self._transposed(found, 0, 2, 1, 3, 4)  # (N, T, 4, W, O)
        found = self._reshaped(found, [-1, _TILE * tiles, width, outputs])
        if height % _TILE:
            found = self._gathered(found, 1, np.arange(height))
        if bias is not None:
            found = self._add("Add", [found, self._weight(bias)])
        self._transposed(found, 0, 3, 1, 2, name=self._name)

    def _windows(self, source: str, channels: int, height: int, width: int) -> str:
        """(N, 6, TW, 3C): of each tile its rows, transformed, each with both neighbours."""
        tiles = -(-height // _TILE)
        below = _TILE * tiles + 1 - height
        margins = self._numbers([0, 1, 1, 0, 0, below, 1, 0])
        padded = self._add("Pad", [self._transposed(source, 0, 2, 3, 1), margins])
        of_tiles = np.arange(_WINDOW)[:, None] + _TILE * np.arange(tiles)
        rows = self._gathered(padded, 1, of_tiles)  # (N, 6, T, W+2, C)
        flat = self._reshaped(rows, [-1, _WINDOW, tiles * (width + 2) * channels])
        found = self._add("MatMul", [self._weight(_OF_ROWS), flat])
        found = self._reshaped(found, [-1, _WINDOW * tiles, width + 2, channels])
        threes = self._gathered(found, 2, np.arange(width)[:, None] + np.arange(3))
        return self._reshaped(threes, [-1, _WINDOW, tiles * width, 3 * channels])

    def _transposed(self, source: str, *order: int, name: str = "") -> str:
        return self._add("Transpose", [source], integers("perm", order), name=name)

    def _gathered(self, source: str, axis: int, places: NDArray[np.integer]) -> str:
        return self._add("Gather", [source, self._numbers(places)], integer("axis", axis))

    def _reshaped(self, source: str, sizes: Sequence[int]) -> str:
        return self._add("Reshape", [source, self._numbers(sizes)])

    def _numbers(self, values: Sequence[int] | NDArray[np.integer]) -> str:
        return self._weight(np.array(values, np.int64))

    def _weight(self, weight: Weight) -> str:
        name = self._next()
        self._weights[name] = weight
        return name

    def _add(self, operator: str, inputs: Iterable[str], *attributes: bytes, name: str = "") -> str:
        name = name or self._next()
        self._nodes.append(Node(operator, tuple(inputs), (name,), attributes))
        return name

    def _next(self) -> str:
        self._count += 1
        return f"{self._name}:winograd.{self._count}"
