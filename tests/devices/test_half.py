"""Graphs turned into half precision, against the graphs they were made of, and the onnx package."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecil_devices._onnxruntime import Graph
from edgecil_devices.errors import BundleError
from edgecil_devices.graphs import joined
from edgecil_devices.half import halved
from tests.devices.conftest import Graphs, TinyNetwork

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 4, 3, 3)).astype(np.float32) / 6
VALUES = RNG.normal(size=(2, 4, 8, 8)).astype(np.float32)
ROUNDING = 2.0**-11
"""Of a number in half precision, as a part of it."""

Step = tuple[str, Sequence[str], dict[str, Any]]


def model_of(steps: Sequence[Step], size: Sequence[int], **weights: Any) -> bytes:
    """A chain from `x` to `y`; the output of step k is called `k`."""
    names = [str(k) for k in range(len(steps) - 1)] + ["y"]
    nodes = [
        helper.make_node(operator, list(inputs), [name], **attributes)
        for name, (operator, inputs, attributes) in zip(names, steps, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "y",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *size])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def types_of(model: bytes) -> dict[str, int]:
    """The type of each value, as the onnx package infers it."""
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(model), strict_mode=True, data_prop=True
    ).graph
    of_values = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info,)}
    return of_values | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def in_half(model: bytes) -> list[str]:
    """The operators, in order, that give half precision, less the casts."""
    types = types_of(model)
    nodes = onnx.load_from_string(model).graph.node
    return [
        node.op_type
        for node in nodes
        if node.op_type != "Cast" and types.get(node.output[0]) == TensorProto.FLOAT16
    ]


CONV: Step = ("Conv", ("x", "w"), {"pads": [1, 1, 1, 1]})
SAME = (4, 8, 8)
AXES = {"axes": np.array([2, 3])}
LIMITS = {"low": np.float32(0), "high": np.float32(0.5)}
PAD = {"margins": np.array([0, 1, 0, 0, 0, 1, 0, 0]), "none": np.float32(0)}
SLICE = {
    "from": np.array([0, 0]),
    "to": np.array([8, 8]),
    "by": np.array([2, 2]),
    "along": np.array([2, 3]),
}
CASES: dict[str, tuple[Sequence[Step], Sequence[int], dict[str, Any], list[str]]] = {
    "a convolution with a bias": (
        [("Conv", ("x", "w", "b"), {"pads": [1] * 4, "strides": [2, 2]})],
        (4, 4, 4),
        {"b": np.ones(4, np.float32)},
        ["Conv"],
    ),
    "a convolution of each channel": (
        [("Conv", ("x", "each"), {"pads": [1] * 4, "group": 4})],
        SAME,
        {"each": WEIGHT[:, :1]},
        ["Conv"],
    ),
    "a shortcut": (
        [CONV, ("Relu", ("0",), {}), ("Add", ("1", "x"), {}), ("Relu", ("2",), {})],
        SAME,
        {},
        ["Conv", "Relu", "Add", "Relu"],
    ),
    "a shortcut with fewer pixels and more channels": (
        [
            ("Conv", ("x", "more"), {"pads": [1] * 4, "strides": [2, 2]}),
            ("Slice", ("x", "from", "to", "along", "by"), {}),
            ("Pad", ("1", "margins", "none"), {}),
            ("Add", ("0", "2"), {}),
        ],
        (6, 4, 4),
        {**SLICE, **PAD, "more": np.concatenate([WEIGHT, WEIGHT[:2]])},
        ["Conv", "Slice", "Pad", "Add"],
    ),
    "limits": (
        [CONV, ("Clip", ("0", "low", "high"), {})],
        SAME,
        LIMITS,
        ["Conv", "Clip"],
    ),
    "the largest of a few": (
        [CONV, ("MaxPool", ("0",), {"kernel_shape": [2, 2], "strides": [2, 2]})],
        (4, 4, 4),
        {},
        ["Conv", "MaxPool"],
    ),
    "other activations stay single": (
        [CONV, ("HardSwish", ("0",), {}), ("HardSigmoid", ("1",), {})],
        SAME,
        {},
        ["Conv"],
    ),
    "a gate stays single": (
        [
            CONV,
            ("GlobalAveragePool", ("0",), {}),
            ("Conv", ("1", "small"), {}),
            ("HardSigmoid", ("2",), {}),
            ("Mul", ("0", "3"), {}),
            ("Conv", ("4", "w"), {"pads": [1] * 4}),
        ],
        SAME,
        {"small": WEIGHT[:, :, :1, :1]},
        ["Conv", "Conv", "Conv"],
    ),
    "the mean stays single": (
        [CONV, ("ReduceMean", ("0", "axes"), {"keepdims": 0})],
        (4,),
        AXES,
        ["Conv"],
    ),
    "the normalisation stays single": (
        [
            ("Mul", ("x", "scale"), {}),
            ("Add", ("0", "shift"), {}),
            ("Conv", ("1", "w"), {"pads": [1] * 4}),
            ("Transpose", ("2",), {"perm": [0, 2, 3, 1]}),
        ],
        (8, 8, 4),
        {
            "scale": np.full((1, 4, 1, 1), 0.3, np.float32),
            "shift": np.full((1, 4, 1, 1), -0.1, np.float32),
        },
        ["Conv", "Transpose"],
    ),
    "a reshaped map": (
        [CONV, ("Reshape", ("0", "sizes"), {}), ("Flatten", ("1",), {})],
        (256,),
        {"sizes": np.array([-1, 4, 64])},
        ["Conv", "Reshape", "Flatten"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_computes_the_same_but_for_rounding(case: str) -> None:
    steps, size, weights, expected_in_half = CASES[case]
    used = {name for _, inputs, _ in steps for name in inputs}
    model = model_of(steps, size, **weights | ({"w": WEIGHT} if "w" in used else {}))
    half = halved(model)
    onnx.checker.check_model(onnx.load_from_string(half), full_check=True)
    assert in_half(half) == expected_in_half
    (expected,) = Graph(model, "single").run(VALUES)
    (found,) = Graph(half, "half").run(VALUES)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < error < 8 * ROUNDING  # 0 would mean that nothing was rounded


@pytest.mark.parametrize("stored", ["float16", "int8"])
def test_weights_that_are_stored_small_are_restored_once_and_for_all(stored: str) -> None:
    scales = (np.abs(WEIGHT).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    if stored == "float16":
        weights = {"w.stored": WEIGHT.astype(np.float16)}
        restoring: Step = ("Cast", ("w.stored",), {"to": TensorProto.FLOAT})
        exact = weights["w.stored"].astype(np.float32)
    else:
        whole = np.rint(WEIGHT / scales[:, None, None, None]).astype(np.int8)
        weights = {"w.stored": whole, "scales": scales}
        restoring = ("DequantizeLinear", ("w.stored", "scales"), {"axis": 0})
        exact = whole * scales[:, None, None, None]
    half = halved(model_of([restoring, ("Conv", ("x", "0"), {"pads": [1] * 4})], SAME, **weights))
    graph = onnx.load_from_string(half).graph
    assert [node.op_type for node in graph.node] == ["Cast", "Conv", "Cast"]
    (weight,) = (numpy_helper.to_array(tensor) for tensor in graph.initializer)
    np.testing.assert_array_equal(weight, exact.astype(np.float16))


def test_a_joined_graph_has_no_cast_between_trunk_and_blocks(tiny: TinyNetwork) -> None:
    pixels = RNG.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    model = joined(Graphs.trunk(tiny.trunk), [Graphs.block(weight) for weight in tiny.blocks])
    half = halved(model)
    casts = [n for n in onnx.load_from_string(half).graph.node if n.op_type == "Cast"]
    assert len(casts) == 1 + 1 + 2  # the pixels, into half precision, and before each mean
    for found, expected in zip(
        Graph(half, "half").run(pixels), Graph(model, "single").run(pixels), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=8 * ROUNDING * np.abs(expected).max())


def test_a_feature_map_that_is_wanted_too_comes_in_single_precision(tiny: TinyNetwork) -> None:
    pixels = RNG.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    blocks = [Graphs.block(weight) for weight in tiny.blocks]
    model = halved(joined(Graphs.trunk(tiny.trunk), blocks, with_map=True))
    assert [value.dtype for value in Graph(model, "half").run(pixels)] == [np.float32] * 3


def test_weights_beyond_half_precision_are_refused() -> None:
    model = model_of([CONV], SAME, w=WEIGHT * np.float32(1e6))
    with pytest.raises(BundleError, match="'w' is too large for half precision"):
        halved(model)


def test_limits_beyond_half_precision_are_refused() -> None:
    limits = {"low": np.float32(0), "high": np.float32(1e30)}
    with pytest.raises(BundleError, match="'high' is too large"):
        halved(model_of([CONV, ("Clip", ("0", "low", "high"), {})], SAME, w=WEIGHT, **limits))


@pytest.mark.parametrize("operator", ["Sigmoid", "Abs"])
def test_an_unknown_operator_is_refused(operator: str) -> None:
    with pytest.raises(BundleError, match=f"{operator} is not known"):
        halved(model_of([CONV, (operator, ("0",), {})], SAME, w=WEIGHT))


def test_a_graph_that_computes_in_eight_bits_is_refused() -> None:
    step, zero = np.float32(0.1), np.uint8(128)
    steps: list[Step] = [
        ("QuantizeLinear", ("x", "step", "zero"), {}),
        ("DequantizeLinear", ("0", "step", "zero"), {}),
    ]
    with pytest.raises(BundleError, match="QuantizeLinear is not known"):
        halved(model_of(steps, SAME, step=step, zero=zero))


def test_what_is_stored_along_another_axis_is_refused() -> None:
    steps: list[Step] = [
        ("DequantizeLinear", ("w.int8", "scales"), {"axis": 1}),
        ("Conv", ("x", "0"), {"pads": [1] * 4}),
    ]
    weights: dict[str, Any] = {
        "w.int8": np.ones((4, 4, 3, 3), np.int8),
        "scales": np.ones(4, np.float32),
    }
    with pytest.raises(BundleError, match="in a way of its own"):
        halved(model_of(steps, SAME, **weights))
