"""Graphs of networks made for small computers, against the networks in float64."""

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecil.networks.efficientnet_lite import lite0_groups
from edgecil_devices._onnxruntime import Graph
from edgecil_devices.graphs import joined, operators
from edgecil_devices.half import halved
from edgecil_export.graphs import (
    block_template,
    folded_trunk,
    tensors_of,
    trunk_template,
    with_weights,
)
from edgecil_export.inference import for_inference
from edgecil_export.precision import store
from edgecil_export.quantisation import quantised_graphs
from tests.export.mobile import lite_like_groups, mobilenet_v3_small_groups, with_statistics

GROUPS: dict[str, Callable[[], list[nn.Module]]] = {
    "lite": lite_like_groups,
    "lite0": lite0_groups,
    "v3": mobilenet_v3_small_groups,
}
MEAN, STD = torch.full((3,), 127 / 255), torch.full((3,), 128 / 255)


def pictures(count: int, size_px: int) -> NDArray[np.uint8]:
    """Blots of colour."""
    coarse = np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    times = -(-size_px // 8)
    return coarse.repeat(times, axis=1).repeat(times, axis=2)[:, :size_px, :size_px].copy()


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """As EfficientNet-Lite takes them."""
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).double() - 127) / 128


class Exported:
    """A network of one trunk and one block, and its graphs."""

    def __init__(self, name: str, size_px: int) -> None:
        torch.manual_seed(0)
        groups = with_statistics(GROUPS[name](), normalised(pictures(24, size_px)).float())
        self.trunk, self.block = nn.Sequential(*groups[:-1]), groups[-1]
        self.folded = folded_trunk(self.trunk, MEAN, STD)
        self.folded_block = for_inference(self.block)
        example = self.folded(torch.zeros(1, size_px, size_px, 3, dtype=torch.uint8))
        self.templates = (
            trunk_template(self.folded, size_px),
            block_template(self.folded_block, example),
        )

    def graphs(self, precision: str = "fp32") -> dict[str, bytes]:
        modules = {"trunk": self.folded, "block": self.folded_block}
        return {
            name: with_weights(
                template, {n: store(t, precision) for n, t in tensors_of(modules[name]).items()}
            )
            for name, template in zip(modules, self.templates, strict=True)
        }

    def expected(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Features in float64."""
        trunk, block = copy.deepcopy(self.trunk).double(), copy.deepcopy(self.block).double()
        with torch.inference_mode():
            found: Tensor = block(trunk(normalised(pixels)))
        return found.numpy()


@pytest.fixture(scope="module")
def exported() -> Callable[[str, int], Exported]:
    made: dict[tuple[str, int], Exported] = {}

    def get(name: str, size_px: int) -> Exported:
        if (name, size_px) not in made:
            made[name, size_px] = Exported(name, size_px)
        return made[name, size_px]

    return get


Get = Callable[[str, int], Exported]


def require_no_overflow(graph: onnx.GraphProto) -> None:
    """Whatever bytes come in, two products that are added in 16 bits fit them.

    In a product of matrices these are those of input channels 2k and 2k + 1. Depthwise convolutions
    add in 32 bits.
    """
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    seen = []
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] in tensors:
            continue
        weight = tensors[made_by[node.input[1]].input[0]].astype(np.int64)
        largest = np.abs(weight).max(axis=(1, 2, 3))
        seen.append(largest.max())
        if weight.shape[1] == 1:
            assert largest.max() <= 127
        elif weight.shape[2:] == (1, 1):
            in_order = weight[:, :, 0, 0]
            pairs = np.pad(np.abs(in_order), ((0, 0), (0, weight.shape[1] % 2)))
            assert 255 * (pairs[:, ::2] + pairs[:, 1::2]).max() < 2**15
        else:
            assert largest.max() <= 64
    assert max(seen) > 64  # or nothing is won


def run(graphs: dict[str, bytes], pixels: NDArray[np.uint8], compute: str) -> NDArray[np.float32]:
    value: NDArray[np.generic] = pixels
    for name, model in graphs.items():
        (value,) = Graph(model, name, 1, compute).run(value)
    return value.astype(np.float32)


@pytest.mark.parametrize(
    ("name", "size_px"), [("lite", 32), ("lite", 37), ("lite0", 64), ("v3", 64)]
)
def test_exported_graphs_compute_what_the_network_does(
    exported: Get, name: str, size_px: int
) -> None:
    """With odd sizes and even ones, SAME puts its margins elsewhere."""
    network, pixels = exported(name, size_px), pictures(3, size_px)
    expected = network.expected(pixels)
    found = run(network.graphs(), pixels, "fp32")
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("name", "size_px"), [("lite", 37), ("v3", 64)])
def test_in_half_precision_exported_graphs_give_the_same_but_for_rounding(
    exported: Get, name: str, size_px: int, precision: str
) -> None:
    graphs, pixels = exported(name, size_px).graphs(precision), pictures(3, size_px)
    expected = run(graphs, pixels, "fp32")
    found = run({name: halved(model) for name, model in graphs.items()}, pixels, "fp32")
    assert 0 < np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_relu6_stays_relu6_and_margins_are_the_convolutions_own(exported: Get) -> None:
    trunk, block = exported("lite", 32).graphs().values()
    of_trunk = onnx.load_from_string(trunk).graph
    limits = {t.name: onnx.numpy_helper.to_array(t) for t in of_trunk.initializer if not t.dims}
    clips = [node for node in of_trunk.node if node.op_type == "Clip"]
    assert [[float(limits[name]) for name in node.input[1:]] for node in clips] == [[0, 6]] * 7
    assert operators(trunk) == {"Transpose", "Cast", "Mul", "Add", "Conv", "Clip"}
    assert operators(block) == {"Conv", "Clip", "ReduceMean", "Reshape"}
    margins = [
        list(attribute.ints)
        for node in of_trunk.node
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "pads"
    ]
    assert margins[0] == [0, 0, 1, 1]
    assert [1, 1, 2, 2] in margins  # 5x5 with stride 2


def test_gates_are_plain_means_products_and_hard_sigmoids(exported: Get) -> None:
    trunk, block = exported("v3", 64).graphs().values()
    own = {"Conv", "HardSwish", "HardSigmoid", "Relu", "Add", "Mul", "ReduceMean"}
    assert operators(trunk) == own | {"Transpose", "Cast"}
    assert operators(block) == own | {"Reshape"}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_rounded_weights_go_through_the_same_graphs(exported: Get, precision: str) -> None:
    network, pixels = exported("lite", 32), pictures(3, 32)
    expected = network.expected(pixels)
    found = run(network.graphs(precision), pixels, "fp32")
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "size_px", "most"), [("lite", 32, 0.1), ("v3", 64, 0.4)])
def test_in_int8_features_stay_close_on_pictures_that_were_not_calibrated_on(
    exported: Get, name: str, size_px: int, most: float
) -> None:
    """Untrained layers with HardSwish pass rounding on and on; trained ones less."""
    network, pixels = exported(name, size_px), pictures(24, size_px)
    in_int8 = quantised_graphs(network.graphs(), [pixels[:16]])
    expected = network.expected(pixels[16:])
    found = run(in_int8, pixels[16:], "int8")
    assert np.abs(found - expected).max() < most * np.abs(expected).max()
    for model in in_int8.values():
        require_no_overflow(onnx.load_from_string(model).graph)
    # What a Clip would cut off, the bytes cannot hold. The first convolution is in float32.
    kinds = [node.op_type for node in onnx.load_from_string(in_int8["trunk"]).graph.node]
    assert kinds.count("Clip") == (1 if name == "lite" else 0)
    assert "Clip" not in operators(in_int8["block"])
    trunk, block = in_int8.values()
    (whole,) = Graph(joined(trunk, [block]), "whole", 2, "int8").run(pixels[16:])
    np.testing.assert_array_equal(whole, found)
