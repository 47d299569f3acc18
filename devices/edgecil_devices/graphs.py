"""ONNX files without the onnx package: what goes in and out of a graph, and graphs joined into one.

Two messages of protocol buffers, one behind the other, are one message with the fields of both. So
the bytes of several ONNX files are already the joined graph, once their names differ and inputs and
outputs that have become inner values are left out.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from edgecil_devices.errors import BundleError

FLOAT, UINT8 = "float", "uint8"
"""Types of what values are made of."""

# The numbers that fields have in onnx.proto.
_GRAPH, _OPERATOR = 7, 4
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 2, 5, 11, 12, 13
_NAMES_IN = {_NODE: (1, 2, 3), _INITIALIZER: (8,), _INPUT: (1,), _OUTPUT: (1,), _VALUE_INFO: (1,)}
"""Where names of values and nodes stand in the parts of a graph."""
_ELEMENT_TYPES = {1: FLOAT, 2: UINT8}
_LONGEST_VARINT = 10


class Port(NamedTuple):
    """An input or output of a graph."""

    name: str
    dtype: str
    """`FLOAT`, `UINT8`, or a number that ONNX has for another type."""
    shape: tuple[int | str | None, ...]
    """A size that may vary is a name or None."""


class Field(NamedTuple):
    """A field of a message."""

    number: int
    """What onnx.proto calls it by."""
    value: int
    """Of numbers."""
    content: memoryview
    """Of strings, bytes and nested messages."""
    raw: memoryview
    """The whole field."""


def ports(model: bytes) -> tuple[list[Port], list[Port]]:
    """The inputs and the outputs that an ONNX file declares.

    Raises:
        BundleError: it is no protocol buffer, or says twice what is said once.
    """
    parts = list(nested(model, _GRAPH))
    inputs, outputs = (
        [_port(content) for part in parts for content in nested(part, number)]
        for number in (_INPUT, _OUTPUT)
    )
    return inputs, outputs


def operators(model: bytes) -> set[str]:
    """The operators that an ONNX file uses.

    Raises:
        BundleError: it is no protocol buffer.
    """
    nodes = (node for graph in nested(model, _GRAPH) for node in nested(graph, _NODE))
    return {text(name) for node in nodes for name in nested(node, _OPERATOR)}


def joined(trunk: bytes | None, blocks: Sequence[bytes], *, with_map: bool = False) -> bytes:
    """One ONNX file that computes several.

    Args:
        trunk: its output is the blocks' input, under the same name; None: the blocks alone.
        blocks: their outputs stay, in this order, as `0.features`, `1.features` and so on.
        with_map: whether the trunk's output stays an output as well, before these.

    Raises:
        BundleError: one of them is no protocol buffer, or says twice what is said once.
    """
    parts = []
    if trunk is not None:
        names = [port.name for some in ports(trunk) for port in some]
        parts = [_part(trunk, "trunk.", names, without=() if with_map else (_OUTPUT,))]
    for k, block in enumerate(blocks):
        names = [port.name for port in ports(block)[0]]
        model = _part(block, f"{k}.", names, without=(_INPUT, _GRAPH_NAME) if parts else ())
        # Whatever there is to say once, like the version, the first part has said.
        parts.append(b"".join(f.raw for f in fields(model) if not parts or f.number == _GRAPH))
    return b"".join(parts)


def _part(model: bytes, prefix: str, keeping: Iterable[str], without: Collection[int]) -> bytes:
    """`model` with `prefix` before all names but some, less some parts of its graph."""
    kept = {b"", *(name.encode() for name in keeping)}  # no name is an input left out

    def renamed(part: Field) -> bytes:
        inner = (
            encoded(field.number, prefix.encode() + bytes(field.content))
            if field.number in _NAMES_IN[part.number] and bytes(field.content) not in kept
            else field.raw
            for field in fields(part.content)
        )
        return encoded(part.number, b"".join(inner))

    def graph(content: memoryview) -> bytes:
        parts = (part for part in fields(content) if part.number not in without)
        return b"".join(renamed(p) if p.number in _NAMES_IN else p.raw for p in parts)

    return b"".join(
        encoded(_GRAPH, graph(field.content)) if field.number == _GRAPH else field.raw
        for field in fields(model)
    )


def _port(value_info: memoryview) -> Port:
    parts = list(fields(value_info))
    name = "".join(text(part.content) for part in _single(parts, 1))
    dtype, shape = "unknown", []
    for type_ in _single(parts, 2):
        for tensor in _single(fields(type_.content), 1):
            of_tensor = list(fields(tensor.content))
            for field in _single(of_tensor, 1):
                dtype = _ELEMENT_TYPES.get(field.value, f"type {field.value}")
            for field in _single(of_tensor, 2):
                shape = [_size(content) for content in nested(field.content, 1)]
    return Port(name, dtype, tuple(shape))


def _size(dimension: memoryview) -> int | str | None:
    for field in _single(fields(dimension), 1, 2):  # for protobuf one takes the other's place
        return field.value if field.number == 1 else text(field.content)
    return None


def _single(parts: Iterable[Field], *numbers: int) -> list[Field]:
    """The one field of these numbers, or none.

    Of several protobuf would take the last, or put messages together. It never writes several: they
    are there to make one reader see what another does not.

    Raises:
        BundleError: there are several.
    """
    found = [part for part in parts if part.number in numbers]
    if len(found) > 1:
        raise _not_a_graph()
    return found


def attribute_of(parts: Iterable[Field]) -> tuple[str, tuple[int | str, ...]]:
    """The name of an attribute and its integers or its string; a float counts as no value.

    Raises:
        BundleError: it has several names, or several values that are no list.
    """
    parts = list(parts)
    integers = [part for part in parts if part.number == 8]
    values = (
        _signed(part.value) if part.number != 4 else text(part.content)
        for part in (*_single(parts, 3, 4), *integers)
    )
    return "".join(text(part.content) for part in _single(parts, 1)), tuple(values)


class TensorFields(NamedTuple):
    """What a tensor says of itself, right or wrong."""

    name: str
    shape: tuple[int, ...]
    types: list[int]
    """The number that ONNX has for its type, which should be there."""
    data: list[memoryview]
    """Likewise."""


def tensor_of(parts: Iterable[Field]) -> TensorFields:
    """What the fields of a tensor hold.

    Raises:
        BundleError: it has several names, types or contents.
    """
    parts = list(parts)
    return TensorFields(
        "".join(text(part.content) for part in _single(parts, 8)),
        tuple(part.value for part in parts if part.number == 1),
        [part.value for part in _single(parts, 2)],
        [part.content for part in _single(parts, 9)],
    )


def _signed(value: int) -> int:
    """Integers are two's complements of 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def text(content: bytes | memoryview) -> str:
    """A string; bytes that are no UTF-8 are replaced."""
    return bytes(content).decode(errors="replace")


def nested(message: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """The contents of the fields of one number."""
    return (field.content for field in fields(message) if field.number == number)


def fields(message: bytes | memoryview) -> Iterator[Field]:
    """The fields of a message, in order, without looking into them.

    Raises:
        BundleError: it is no protocol buffer.
    """
    message, position = memoryview(message), 0
    while position < len(message):
        start, value, content = position, 0, message[:0]
        key, position = _varint(message, position)
        match key & 7:
            case 0:
                value, position = _varint(message, position)
            case 1:
                position += 8
            case 2:
                size, position = _varint(message, position)
                content = message[position : position + size]
                position += size
            case 5:
                position += 4
            case _:
                raise _not_a_graph()
        if position > len(message):
            raise _not_a_graph()
        yield Field(key >> 3, value, content, message[start:position])


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, and the position behind it."""
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise _not_a_graph()


def encoded_number(number: int, value: int) -> bytes:
    """A field that holds a number, not below zero."""
    return _as_varint(number << 3) + _as_varint(value)


def encoded(number: int, content: bytes | memoryview) -> bytes:
    """A field of strings, bytes or a nested message."""
    return _as_varint(number << 3 | 2) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _not_a_graph() -> BundleError:
    return BundleError("not an ONNX graph; export the bundle again")
