"""Convolutions written with Winograd's products, against sums worked out in float64."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecil_devices._onnxruntime import Graph
from edgecil_devices.graphs import joined
from edgecil_devices.winograd import kernel_bytes, with_winograd

RNG = np.random.default_rng(0)


def model_of(
    height: int, width: int, weight: NDArray[Any], bias: NDArray[Any] | None = None, **more: Any
) -> bytes:
    """ReLU of a convolution."""
    pads = more.pop("pads", [1] * 4)
    inputs = ["x", "w"] + (["b"] if bias is not None else [])
    nodes = [
        helper.make_node("Conv", inputs, ["c"], pads=pads, **more),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    channels = weight.shape[1] * more.get("group", 1)
    tensors = {"w": weight} | ({} if bias is None else {"b": bias})
    graph = helper.make_graph(
        nodes,
        "y",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", len(weight), None, None])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


def weights(outputs: int, channels: int) -> NDArray[np.float32]:
    scale = np.sqrt(2 / (9 * channels))  # values keep their size
    found: NDArray[np.float32] = (RNG.normal(size=(outputs, channels, 3, 3)) * scale).astype("f4")
    return found


def expected(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None) -> Any:
    """In float64, by its definition."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    found = np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64), optimize=True)
    return np.maximum(0, found + (0 if bias is None else bias[:, None, None]))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(
    ("outputs", "channels", "height", "width"),
    [
        (16, 16, 32, 32),
        (64, 64, 8, 8),
        (32, 16, 5, 7),
        (16, 32, 1, 1),
        (16, 16, 3, 9),
        (24, 20, 2, 4),
    ],
)
def test_sums_are_exact_to_about_a_millionth(
    outputs: int, channels: int, height: int, width: int, has_bias: bool
) -> None:
    weight = weights(outputs, channels)
    bias = RNG.normal(size=outputs).astype(np.float32) if has_bias else None
    model = with_winograd(model_of(height, width, weight, bias))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert not [n for n in onnx.load_from_string(model).graph.node if n.op_type == "Conv"]
    graph = Graph(model, "winograd")
    for count in (1, 3):
        x = RNG.normal(size=(count, channels, height, width)).astype(np.float32)
        (found,) = graph.run(x)
        right = expected(x, weight, bias)
        assert np.abs(found - right).max() <= 1.5e-6 * max(1, np.abs(right).max())


def test_it_multiplies_half_as_often() -> None:
    model = onnx.load_from_string(with_winograd(model_of(8, 8, weights(64, 64))))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    tensors = {t.name: tuple(t.dims) for t in inferred.initializer}
    (shape,) = [
        tensors[node.input[1]]
        for node in model.graph.node
        if node.input[1:2] and node.input[1] in tensors and node.op_type == "MatMul"
    ]
    assert shape == (6, 3 * 64, 64)  # each of the six for 2 tiles x 8
    assert kernel_bytes(model_of(8, 8, weights(64, 64))) == 4 * 9 * 64 * 64
    assert 2 * 8 * np.prod(shape) * 2 == 8 * 8 * 9 * 64 * 64


def test_weights_that_are_stored_small_are_restored() -> None:
    kernel = weights(16, 16)
    scales = (np.abs(kernel).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    whole = np.rint(kernel / scales[:, None, None, None]).astype(np.int8)
    model = onnx.load_from_string(model_of(8, 8, kernel))
    restoring = helper.make_node("DequantizeLinear", ["w.int8", "scales"], ["w"], axis=0)
    nodes = [restoring, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, values in (("w.int8", whole), ("scales", scales)):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    written = with_winograd(model.SerializeToString())
    assert "w.int8" not in {t.name for t in onnx.load_from_string(written).graph.initializer}
    x = RNG.normal(size=(1, 16, 8, 8)).astype(np.float32)
    right = expected(x, whole * scales[:, None, None, None].astype(np.float64), None)
    (found,) = Graph(written, "winograd").run(x)
    assert np.abs(found - right).max() <= 1.5e-6 * np.abs(right).max()


@pytest.mark.parametrize(
    "model",
    [
        model_of(8, 8, weights(16, 16), strides=[2, 2]),
        model_of(8, 8, weights(16, 16), dilations=[2, 2], pads=[2] * 4),
        model_of(8, 8, weights(16, 16), pads=[0] * 4),
        model_of(8, 8, weights(32, 16), group=2),
        model_of(8, 8, weights(16, 3)),
        model_of(8, 8, weights(16, 16)[:, :, :1, :1], pads=[0] * 4),
    ],
)
def test_other_convolutions_stay_as_they_are(model: bytes) -> None:
    assert kernel_bytes(model) == 0
    operators = [node.op_type for node in onnx.load_from_string(with_winograd(model)).graph.node]
    assert operators == ["Conv", "Relu"]


def test_weights_of_several_joined_graphs_keep_apart() -> None:
    models, kernels = [], [weights(16, 16) for _ in range(2)]
    for kernel in kernels:
        model = onnx.load_from_string(model_of(8, 8, kernel))
        models.append(model.SerializeToString())
    x = RNG.normal(size=(2, 16, 8, 8)).astype(np.float32)
    found = Graph(with_winograd(joined(None, models)), "winograd").run(x)
    for one, kernel in zip(found, kernels, strict=True):
        right = expected(x, kernel, None)
        assert np.abs(one - right).max() <= 1.5e-6 * np.abs(right).max()


def test_features_of_a_block_are_exact_to_a_millionth() -> None:
    kernels = [weights(32, 32) for _ in range(4)]
    nodes, source = [], "x"
    for k in range(4):
        nodes.append(helper.make_node("Conv", [source, f"w{k}"], [f"c{k}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        source = f"r{k}"
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["y"]))
    graph = helper.make_graph(
        nodes,
        "y",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32, 1, 1])],
        [numpy_helper.from_array(kernel, f"w{k}") for k, kernel in enumerate(kernels)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = right = RNG.normal(size=(4, 32, 8, 8)).astype(np.float32)
    for kernel in kernels:
        right = expected(right, kernel, None)
    right = right.mean(axis=(2, 3), keepdims=True)
    (found,) = Graph(with_winograd(made.SerializeToString()), "winograd").run(x)
    assert np.abs(found - right).max() <= 1e-6 * np.abs(right).max()
