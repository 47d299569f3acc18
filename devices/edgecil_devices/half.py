"""A graph that computes its convolutions in half precision, made of one that computes in single.

Processors with the vector instructions for it multiply twice as many numbers of 16 bits at once.
onnxruntime has them for convolutions, with the sum and the ReLU behind them, and on ARM for little
else. So convolutions and what only hands values on are in half precision; normalisation, products,
means and other activations stay in single, with a Cast before and behind. What goes into the graph
and comes out of it keeps its type.

Whether the results are good enough is not known here: golden samples tell, see `choosing`.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleError
from edgecil_devices.graph_editing import (
    FLOAT16,
    FLOAT32,
    Editable,
    Node,
    Weight,
    cast,
    restored,
    restores,
)
from edgecil_devices.graph_shapes import OPERATORS

_HANDED_ON = {"Clip", "Flatten", "MaxPool", "Pad", "Relu", "Reshape", "Slice", "Transpose"}
"""In half precision where what goes in is in half precision already."""
_NUMBERS = {"Clip": (1, 2), "Pad": (2,)}
"""Inputs of these that are of the values' type."""
_SUFFIX = ":half"


def halved(model: bytes) -> bytes:
    """The graph with its convolutions in half precision.

    Args:
        model: an ONNX file that `graph_check.check_graph` admits, or several joined ones.

    Raises:
        BundleError: it cannot be; the message says why.
    """
    graph = Editable.read(model)
    halving = _Halving(graph.weights)
    for node in graph.nodes:
        halving.add(node)
    for name in graph.outputs:
        halving.in_single(name)
    return graph.put_together(halving.nodes, halving.weights)


class _Halving:
    """Adds nodes one by one. A value is there in single precision, in half, or in both."""

    def __init__(self, weights: dict[str, Weight]) -> None:
        self.nodes: list[Node] = []
        self.weights = dict(weights)
        self._stored = weights
        self._restoring: dict[str, Node] = {}
        """By the weight that each makes; it is added once somebody wants that."""
        self._restored: set[str] = set()
        self._only_half: set[str] = set()
        self._half: set[str] = set()

    def add(self, node: Node) -> None:
        """Add a node of the graph, in one precision or the other."""
        operator, first = node.operator, node.inputs[0]
        if restores(node, self._stored):
            self._restoring[node.outputs[0]] = node
        elif operator == "Conv":
            self._add_in_half(node, range(len(node.inputs)))
        elif operator in _HANDED_ON and first in self._half:
            self._add_in_half(node, (0, *_NUMBERS.get(operator, ())))
        elif operator == "Add" and self._is_shortcut(node):
            self._add_in_half(node, (0, 1))
        elif operator in OPERATORS - {"QuantizeLinear"}:
            for name in node.inputs:
                self.in_single(name)
            self.nodes.append(node)
        else:
            raise BundleError(f"{operator} is not known in half precision")

    def in_single(self, name: str) -> None:
        """See to it that a value is there in single precision."""
        if name in self._restoring and name not in self._restored:
            self.nodes.append(self._restoring[name])
            self._restored.add(name)
        elif name in self._only_half:
            self.nodes.append(cast(name + _SUFFIX, name, FLOAT32))
            self._only_half.remove(name)

    def _add_in_half(self, node: Node, typed: Collection[int]) -> None:
        inputs = tuple(
            self._in_half(name) if index in typed and name else name
            for index, name in enumerate(node.inputs)
        )
        (name,) = node.outputs
        self.nodes.append(Node(node.operator, inputs, (name + _SUFFIX,), node.attributes))
        self._half.add(name)
        self._only_half.add(name)

    def _in_half(self, name: str) -> str:
        """What a value is called in half precision, once it is there."""
        twin = name + _SUFFIX
        if name not in self._half:
            self._half.add(name)
            if name in self._stored or name in self._restoring:
                self.weights[twin] = _in_range(name, self._weight(name))
            else:
                self.nodes.append(cast(name, twin, FLOAT16))
        return twin

    def _is_shortcut(self, node: Node) -> bool:
        """Whether it adds two values, one of them in half precision, and not a weight."""
        weights = self._stored.keys() | self._restoring.keys()
        return weights.isdisjoint(node.inputs) and not self._half.isdisjoint(node.inputs)

    def _weight(self, name: str) -> NDArray[np.float32]:
        node = self._restoring.get(name)
        if node is None:
            return self._stored[name].astype(np.float32)
        return restored(node, self._stored)


def _in_range(name: str, weight: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    if not np.isfinite(half).all():
        raise BundleError(f"the weight {name!r} is too large for half precision")
    return half
