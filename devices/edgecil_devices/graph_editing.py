"""ONNX graphs taken apart and put together again, without the onnx package.

For modules that turn a graph that `graph_check` has admitted into one that computes the same in
another way. Nodes keep their attributes as bytes, weights are arrays.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleError
from edgecil_devices.graph_shapes import Call
from edgecil_devices.graphs import (
    attribute_of,
    encoded,
    encoded_number,
    fields,
    nested,
    tensor_of,
    text,
)

FLOAT32, FLOAT16 = 1, 10
"""What ONNX calls these types."""

_GRAPH, _NODE, _INITIALIZER, _OUTPUT, _VALUE_INFO = 7, 1, 5, 12, 13
_ATTRIBUTE = 5
"""Of a node."""
_DTYPES = {FLOAT32: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", FLOAT16: "<f2"}
_TYPES = {np.dtype(name): number for number, name in _DTYPES.items()}
_RESTORING = {"Cast", "DequantizeLinear"}
_INTEGER, _INTEGERS = 2, 7
"""Types of attributes."""

Weight = NDArray[np.generic]


@dataclass(frozen=True)
class Node:
    """A node of a graph."""

    operator: str
    """What it does."""
    inputs: tuple[str, ...]
    """Names of what goes in; one that is left out is empty."""
    outputs: tuple[str, ...]
    """Names of what comes out."""
    attributes: tuple[bytes, ...] = ()
    """As the file has them, each a whole field."""

    def call(self) -> Call:
        """As `graph_shapes` has it."""
        messages = (content for raw in self.attributes for content in nested(raw, _ATTRIBUTE))
        attributes = dict(attribute_of(fields(message)) for message in messages)
        return Call(self.operator, self.inputs, self.outputs, attributes)


@dataclass
class Editable:
    """A graph in parts."""

    nodes: list[Node]
    """In an order in which they can be computed."""
    weights: dict[str, Weight]
    """By name."""
    outputs: list[str]
    """Names of what the graph gives."""
    _graph_rest: list[bytes] = field(default_factory=list)
    _model_rest: list[bytes] = field(default_factory=list)

    @classmethod
    def read(cls, model: bytes) -> "Editable":
        """Take an ONNX file apart.

        Raises:
            BundleError: it is no protocol buffer, or holds a weight of no known type.
        """
        found = cls([], {}, [])
        for of_model in fields(model):
            if of_model.number != _GRAPH:
                found._model_rest.append(bytes(of_model.raw))
                continue
            for part in fields(of_model.content):
                if part.number == _NODE:
                    found.nodes.append(_node(part.content))
                elif part.number == _INITIALIZER:
                    name, weight = _weight(part.content)
                    found.weights[name] = weight
                elif part.number != _VALUE_INFO:  # types may become others
                    if part.number == _OUTPUT:
                        found.outputs.append(text(b"".join(nested(part.content, 1))))
                    found._graph_rest.append(bytes(part.raw))
        return found

    def put_together(self, nodes: Iterable[Node], weights: Mapping[str, Weight]) -> bytes:
        """An ONNX file with these nodes, and those of these weights that they use."""
        nodes = list(nodes)
        used = {name for node in nodes for name in node.inputs}
        graph = [encoded(_NODE, _encoded_node(node)) for node in nodes]
        graph += [
            encoded(_INITIALIZER, _encoded_weight(name, weight))
            for name, weight in weights.items()
            if name in used
        ]
        return b"".join([*self._model_rest, encoded(_GRAPH, b"".join(graph + self._graph_rest))])


def restores(node: Node, weights: Mapping[str, Weight]) -> bool:
    """Whether a node makes a weight of a stored one."""
    return node.operator in _RESTORING and weights.keys() >= set(node.inputs)


def restored(node: Node, weights: Mapping[str, Weight]) -> NDArray[np.float32]:
    """The weight that such a node makes.

    Raises:
        BundleError: it is stored in another way than the exporter's.
    """
    values, *scales = (weights[name].astype(np.float32) for name in node.inputs)
    if not scales:
        return values
    # Each output channel has a scale, along the first axis.
    axis = node.call().attributes.get("axis")
    if len(scales) > 1 or scales[0].shape != values.shape[:1] or axis != (0,):
        raise BundleError(f"the weight {node.outputs[0]!r} is stored in a way of its own")
    return values * scales[0].reshape(-1, *[1] * (values.ndim - 1))


def cast(source: str, sink: str, type_: int) -> Node:
    """A node that turns `source` into `sink`, of one of the types above."""
    return Node("Cast", (source,), (sink,), (integer("to", type_),))


def integer(name: str, value: int) -> bytes:
    """An attribute that is one integer, not below zero."""
    parts = encoded(1, name.encode()) + encoded_number(3, value) + encoded_number(20, _INTEGER)
    return encoded(_ATTRIBUTE, parts)


def integers(name: str, values: Iterable[int]) -> bytes:
    """An attribute that is several integers, none below zero."""
    numbers = b"".join(encoded_number(8, value) for value in values)
    return encoded(_ATTRIBUTE, encoded(1, name.encode()) + numbers + encoded_number(20, _INTEGERS))


def _node(message: memoryview) -> Node:
    parts = list(fields(message))

    def names(number: int) -> Iterator[str]:
        return (text(part.content) for part in parts if part.number == number)

    attributes = tuple(bytes(part.raw) for part in parts if part.number == _ATTRIBUTE)
    return Node("".join(names(4)), tuple(names(1)), tuple(names(2)), attributes)


def _weight(message: memoryview) -> tuple[str, Weight]:
    name, shape, types, data = tensor_of(fields(message))
    if len(types) != 1 or len(data) != 1 or types[0] not in _DTYPES:
        raise BundleError(f"the weight {name!r} is of no known type; export the bundle again")
    values = np.frombuffer(data[0], _DTYPES[types[0]])
    if values.size != prod(shape):
        raise BundleError(f"the weight {name!r} has another size; export the bundle again")
    return name, values.reshape(shape)


def _encoded_node(node: Node) -> bytes:
    names = [(1, name) for name in node.inputs] + [(2, name) for name in node.outputs]
    parts = [encoded(number, name.encode()) for number, name in names]
    return b"".join([*parts, encoded(4, node.operator.encode()), *node.attributes])


def _encoded_weight(name: str, weight: Weight) -> bytes:
    parts = [encoded_number(1, size) for size in weight.shape]
    parts += [encoded_number(2, _TYPES[weight.dtype]), encoded(8, name.encode())]
    return b"".join([*parts, encoded(9, np.ascontiguousarray(weight).tobytes())])
