"""What a graph may be, checked before onnxruntime sees it.

onnxruntime can read other files, run foreign operators, loop and allocate as a graph tells it to.
So what a graph may use is listed here, field by field of `onnx.proto`, and all else is refused.
`export/FORMAT.md` has the rules.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import NamedTuple

from edgecil_devices.errors import BundleError, BundleVersionError
from edgecil_devices.graph_shapes import Call, Known, Shape, operators_of_format, result_shape
from edgecil_devices.graphs import Field, Port, attribute_of, fields, ports, tensor_of, text
from edgecil_devices.manifest import Manifest

NEWEST_OPSET, NEWEST_IR_VERSION = 18, 8
"""Beyond these, an operator may mean something that nobody has looked at."""
MAX_VALUES = 2**27
"""How many numbers a graph may compute at one place for one picture."""

_NUMBER, _BYTES, _FLOAT = 0, 2, 5
"""How fields are encoded."""


class _Message(NamedTuple):
    """A kind of message: what it is called, and its allowed fields."""

    what: str
    allowed: Mapping[int, int]
    """How each is encoded."""
    repeated: Collection[int] = ()
    """Those that may come twice. Of all others protobuf would take the last, or put messages
    together; it never writes two."""
    inside: Mapping[int, "_Message"] = {}
    """What those are that nobody but `_checked` looks into."""


# Not among them, on purpose: functions, training, sparse tensors, external data and where it lies,
# strings, tensors and graphs in attributes.
_MODEL = _Message("a model", {1: _NUMBER, 2: _BYTES, 3: _BYTES, 7: _BYTES, 8: _BYTES}, {8})
_OPSET = _Message("an opset", {1: _BYTES, 2: _NUMBER})
_SIZE = _Message("a size", {1: _NUMBER, 2: _BYTES})
_SHAPE = _Message("a shape", {1: _BYTES}, {1}, {1: _SIZE})
_OF_TENSOR = _Message("a tensor's type", {1: _NUMBER, 2: _BYTES}, (), {2: _SHAPE})
_TYPE = _Message("a type", {1: _BYTES}, (), {1: _OF_TENSOR})
_VALUE = _Message("a value", {1: _BYTES, 2: _BYTES}, (), {2: _TYPE})
_GRAPH = _Message(
    "a graph",
    dict.fromkeys((1, 2, 5, 11, 12, 13), _BYTES),
    {1, 5, 11, 12, 13},
    dict.fromkeys((11, 12, 13), _VALUE),
)
_NODE = _Message("a node", dict.fromkeys((1, 2, 3, 4, 5, 7), _BYTES), {1, 2, 5})
_ATTRIBUTE = _Message(
    "an attribute", {1: _BYTES, 2: _FLOAT, 3: _NUMBER, 4: _BYTES, 8: _NUMBER, 20: _NUMBER}, {8}
)
_TENSOR = _Message("a tensor", {1: _NUMBER, 2: _NUMBER, 8: _BYTES, 9: _BYTES}, {1})
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2}
"""Of float, uint8, int8, int32, int64 and float16."""
_FLOAT32, _INT64 = 1, 7
_MOST_INTEGERS = 64
"""More are no shape, axes or margins."""
_MOST_FIELDS = 10_000
"""Of a message: each takes 450 bytes of memory, and may take two of a file."""


def check_graph(model: bytes, name: str, manifest: Manifest) -> None:
    """Refuse a graph that does not keep to the rules.

    Args:
        model: an ONNX file with one input and one output, whose sizes but the first are fixed.
        name: what to call it in errors.
        manifest: says which opset and IR version it must be of.

    Raises:
        BundleVersionError: it needs a newer edgecil.
        BundleError: it may not be in a bundle.
    """
    if manifest.opset > NEWEST_OPSET or manifest.ir_version > NEWEST_IR_VERSION:
        raise BundleVersionError(
            f"its graphs are of opset {manifest.opset} and IR version {manifest.ir_version}, newer "
            f"than {NEWEST_OPSET} and {NEWEST_IR_VERSION}; install a newer edgecil"
        )
    try:
        nodes, tensors = _read(model, manifest)
        (source,), (sink,) = ports(model)
        allowed = operators_of_format(manifest.format_number)
        if foreign := {node.operator for node in nodes} - allowed:
            raise _RefusedError(f"it uses {min(foreign)!r}")
        shapes = _shapes(nodes, tensors, source)
        if shapes.get(sink.name, ())[1:] != sink.shape[1:]:
            raise _RefusedError(f"its output does not have the shape {sink.shape}")
    except _RefusedError as error:
        raise BundleError(
            f"{name}: {error}, which no bundle may have; take it from somebody you trust, "
            "or export it again"
        ) from error


class _RefusedError(Exception):
    """What is wrong with a graph."""


@dataclass(frozen=True)
class _Tensor:
    shape: Shape
    integers: tuple[int, ...] | None = None
    """The content of a short int64 tensor."""
    number: float | None = None
    """The content of a float32 tensor without dimensions."""


def _read(model: bytes, manifest: Manifest) -> tuple[list[Call], dict[str, _Tensor]]:
    """Nodes and weights of a model."""
    nodes, tensors, opsets = [], {}, []
    for field in _checked(model, _MODEL):
        if field.number == 1 and field.value != manifest.ir_version:
            raise _RefusedError(f"it is of IR version {field.value}, not {manifest.ir_version}")
        if field.number == 8:
            opsets.append(_opset(field.content))
        if field.number == 7:
            for part in _checked(field.content, _GRAPH):
                if part.number == 1:
                    nodes.append(_node(part.content, manifest.compute))
                elif part.number == 5:
                    name, tensor = _tensor(part.content)
                    if name in tensors:
                        raise _RefusedError(f"it has {name!r} twice")
                    tensors[name] = tensor
    if opsets != [("", manifest.opset)]:
        raise _RefusedError(f"it uses operators of {opsets}, not opset {manifest.opset} alone")
    return nodes, tensors


def _checked(message: bytes | memoryview, kind: _Message) -> list[Field]:
    """The fields of a message, each of which is allowed as often as it comes."""
    found = list(islice(fields(message), _MOST_FIELDS + 1))
    if len(found) > _MOST_FIELDS:
        raise _RefusedError(f"it has more than {_MOST_FIELDS:,} fields in {kind.what}")
    for field in found:
        if kind.allowed.get(field.number) != field.raw[0] & 7:
            raise _RefusedError(f"it has field {field.number} in {kind.what}")
        if field.number in kind.inside:
            _checked(field.content, kind.inside[field.number])
    for number, count in Counter(field.number for field in found).items():
        if count > 1 and number not in kind.repeated:
            raise _RefusedError(f"it has field {number} twice in {kind.what}")
    return found


def _opset(message: memoryview) -> tuple[str, int]:
    domain, number = "", 0
    for field in _checked(message, _OPSET):
        domain, number = (
            (text(field.content), number) if field.number == 1 else (domain, field.value)
        )
    return domain, number


def _node(message: memoryview, compute: str) -> Call:
    parts = _checked(message, _NODE)
    operators = [text(part.content) for part in parts if part.number == 4]
    if len(operators) != 1 or any(part.number == 7 and len(part.content) for part in parts):
        raise _RefusedError("it has a node of no operator or of another domain")
    if operators[0] == "QuantizeLinear" and compute != "int8":
        raise _RefusedError("it computes in eight bits, as its manifest does not say")
    attributes: dict[str, tuple[int | str, ...]] = {}
    for part in parts:
        if part.number == 5:
            name, values = attribute_of(_checked(part.content, _ATTRIBUTE))
            if name in attributes:
                raise _RefusedError(f"it has the attribute {name!r} twice")
            attributes[name] = values
    return Call(
        operators[0],
        tuple(text(part.content) for part in parts if part.number == 1),
        tuple(text(part.content) for part in parts if part.number == 2),
        attributes,
    )


def _tensor(message: memoryview) -> tuple[str, _Tensor]:
    name, shape, types, data = tensor_of(_checked(message, _TENSOR))
    known = len(types) == len(data) == 1 and types[0] in _ITEM_BYTES and name
    if not known or 0 in shape or prod(shape) * _ITEM_BYTES[types[0]] != len(data[0]):
        raise _RefusedError(f"its tensor {name!r} is not what it says it is")
    if types[0] == _FLOAT32 and not shape:
        return name, _Tensor(shape, number=data[0].cast("B").cast("f")[0])
    if types[0] != _INT64 or prod(shape) > _MOST_INTEGERS:
        return name, _Tensor(shape)
    return name, _Tensor(shape, integers=tuple(data[0].cast("B").cast("q")))


def _shapes(nodes: list[Call], tensors: dict[str, _Tensor], source: Port) -> dict[str, Shape]:
    """The shapes of all values for one picture, none of which may grow without bound."""
    sizes = [size for size in source.shape[1:] if isinstance(size, int)]
    shapes = {source.name: (1, *sizes)} | {name: t.shape for name, t in tensors.items()}
    integers = {name: t.integers for name, t in tensors.items() if t.integers}
    numbers = {name: t.number for name, t in tensors.items() if t.number is not None}
    known = Known(shapes, integers, numbers)
    if source.name in tensors:
        raise _RefusedError("its input is a weight")
    for node in nodes:
        if len(node.outputs) != 1 or node.outputs[0] in shapes:
            raise _RefusedError(f"its {node.operator} does not have one output of its own")
        if any(name and name not in shapes for name in node.inputs):
            raise _RefusedError(f"its {node.operator} takes what there is not")
        try:
            shape = result_shape(node, known)
        except (ValueError, LookupError, ZeroDivisionError) as error:
            raise _RefusedError(f"it uses {node.operator} in a way of its own ({error})") from error
        if min(shape, default=1) < 0 or prod(shape) > MAX_VALUES:
            raise _RefusedError(f"its {node.operator} gives {shape} numbers a picture")
        shapes[node.outputs[0]] = shape
    return shapes
