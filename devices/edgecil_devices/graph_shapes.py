"""The shapes that operators give, for the few operators of a bundle's graphs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A node of a graph."""

    operator: str
    """What it does."""
    inputs: tuple[str, ...]
    """Names of what goes in; one that is left out is empty."""
    outputs: tuple[str, ...]
    """Names of what comes out."""
    attributes: Mapping[str, tuple[int | str, ...]]
    """Integers and strings by name."""

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """An attribute made of integers."""
        return [value for value in self.attributes.get(name, default) if isinstance(value, int)]


@dataclass(frozen=True)
class Known:
    """What is known of the values of a graph before it runs."""

    shapes: Mapping[str, Shape]
    """For one picture, by the value's name."""
    integers: Mapping[str, tuple[int, ...]]
    """Those of short weights of int64."""
    numbers: Mapping[str, float]
    """Weights of float32 without dimensions."""


@dataclass(frozen=True)
class _Inputs:
    call: Call
    known: Known

    def shape(self, index: int) -> Shape:
        return self.known.shapes[self.call.inputs[index]]

    def constant(self, index: int) -> tuple[int, ...]:
        """The integers of an input, which must be known."""
        return self.known.integers[self.call.inputs[index]]

    def number(self, index: int) -> float:
        """The number that an input is, which must be known."""
        return self.known.numbers[self.call.inputs[index]]

    def has(self, index: int) -> bool:
        return index < len(self.call.inputs) and self.call.inputs[index] != ""


def result_shape(call: Call, known: Known) -> Shape:
    """The shape of what a node computes.

    Args:
        call: the node, of one of `OPERATORS`.
        known: the shapes of all values before it, and those weights that shapes come from.

    Raises:
        LookupError: an input is missing, or not constant as it has to be.
        ValueError: it is used in a way that is not allowed.
        ZeroDivisionError: likewise.
    """
    return tuple(_OPERATORS[call.operator](_Inputs(call, known)))


def _as_input(given: _Inputs) -> Shape:
    return given.shape(0)


def _broadcast(given: _Inputs) -> Shape:
    """Two alike, or one of them a number for each channel of the other, or one number."""
    small, large = sorted((given.shape(0), given.shape(1)), key=prod)
    if small not in (large, (1, *large[1:2], 1, 1), ()):
        raise ValueError(f"{small} does not fit {large}")
    return large


def _clipped(given: _Inputs) -> Shape:
    if not -inf < given.number(1) < given.number(2) < inf:
        raise ValueError("its limits are no range")
    return given.shape(0)


def _convolved(given: _Inputs) -> Sequence[int]:
    shape, weight, (groups,) = given.shape(0), given.shape(1), given.call.integers("group", (1,))
    kernel = given.call.integers("kernel_shape", weight[2:])
    if tuple(kernel) != weight[2:]:
        raise ValueError("its kernel has another shape")
    if groups < 1 or weight[1] * groups != shape[1] or weight[0] % groups:
        raise ValueError("its groups do not fit")
    return [shape[0], weight[0], *_windows(given, kernel)]


def _pooled(given: _Inputs) -> Sequence[int]:
    return [*given.shape(0)[:2], *_windows(given, given.call.integers("kernel_shape", ()))]


def _windows(given: _Inputs, kernel: Sequence[int]) -> list[int]:
    """How many windows fit, along each side of a picture."""
    call, sides = given.call, given.shape(0)[2:]
    rank = len(sides)
    if call.attributes.get("auto_pad", ("NOTSET",)) != ("NOTSET",):
        raise ValueError("margins are not given as numbers")
    if call.integers("ceil_mode", (0,)) != [0]:
        raise ValueError("windows stand out")
    pads = call.integers("pads", [0] * 2 * rank)
    strides = call.integers("strides", [1] * rank)
    dilations = call.integers("dilations", [1] * rank)
    if min([*pads, 0]) < 0 or min([*strides, *dilations, *kernel, 1]) < 1 or len(pads) != 2 * rank:
        raise ValueError("its numbers cannot be")
    counted = zip(sides, pads[:rank], pads[rank:], kernel, strides, dilations, strict=True)
    return [
        (side + before + after - dilation * (size - 1) - 1) // stride + 1
        for side, before, after, size, stride, dilation in counted
    ]


def _averaged(given: _Inputs) -> Sequence[int]:
    shape = given.shape(0)
    return [*shape[:2], *(1 for _ in shape[2:])]


def _reduced(given: _Inputs) -> Sequence[int]:
    shape = given.shape(0)
    axes = {axis % len(shape) for axis in given.constant(1)}
    kept = given.call.integers("keepdims", (1,)) == [1]
    return [1 if k in axes else n for k, n in enumerate(shape) if kept or k not in axes]


def _flattened(given: _Inputs) -> Sequence[int]:
    shape, (axis,) = given.shape(0), given.call.integers("axis", (1,))
    axis = axis + len(shape) if axis < 0 else axis
    return [prod(shape[:axis]), prod(shape[axis:])]


def _reshaped(given: _Inputs) -> Sequence[int]:
    count, wanted = prod(given.shape(0)), given.constant(1)
    known = prod(size for size in wanted if size != -1)
    if min(wanted) < -1 or known == 0 or wanted.count(-1) > 1:
        raise ValueError("its sizes cannot be")
    shape = [count // known if size == -1 else size for size in wanted]
    if prod(shape) != count:
        raise ValueError("it has more numbers or less than before")
    return shape


def _sliced(given: _Inputs) -> Sequence[int]:
    shape = list(given.shape(0))
    starts, ends = given.constant(1), given.constant(2)
    axes = given.constant(3) if given.has(3) else range(len(starts))
    steps = given.constant(4) if given.has(4) else [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        shape[axis] = len(range(shape[axis])[start:end:step])  # both cut alike what lies outside
    return shape


def _padded(given: _Inputs) -> Sequence[int]:
    shape, pads = given.shape(0), given.constant(1)
    if len(pads) != 2 * len(shape) or min(pads) < 0 or given.has(3):
        raise ValueError("its margins cannot be")
    margins = zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True)
    return [size + before + after for size, before, after in margins]


def _transposed(given: _Inputs) -> Sequence[int]:
    shape = given.shape(0)
    order = given.call.integers("perm", range(len(shape))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ValueError("its order cannot be")
    return [shape[axis] for axis in order]


_OPERATORS: dict[str, Callable[[_Inputs], Sequence[int]]] = {
    "Add": _broadcast,
    "Cast": _as_input,
    "Clip": _clipped,
    "Conv": _convolved,
    "DequantizeLinear": _as_input,
    "Flatten": _flattened,
    "GlobalAveragePool": _averaged,
    "HardSigmoid": _as_input,
    "HardSwish": _as_input,
    "MaxPool": _pooled,
    "Mul": _broadcast,
    "Pad": _padded,
    "QuantizeLinear": _as_input,
    "ReduceMean": _reduced,
    "Relu": _as_input,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Transpose": _transposed,
}
OPERATORS = frozenset(_OPERATORS)
"""All that a graph may use; none reads a file or loops."""
_SINCE_FORMAT_2 = frozenset({"Clip", "HardSigmoid", "HardSwish"})


def operators_of_format(number: int) -> frozenset[str]:
    """What graphs of a bundle of this format may use."""
    return OPERATORS if number > 1 else OPERATORS - _SINCE_FORMAT_2


def lowest_format(operators: Collection[str]) -> int:
    """The oldest format that has all of `operators`."""
    return 1 if _SINCE_FORMAT_2.isdisjoint(operators) else 2
