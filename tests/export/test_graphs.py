"""Templates, weights put in by name, and graphs that are refused."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

from edgecil.errors import ExportError
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil_devices._onnxruntime import Graph
from edgecil_devices.graph_shapes import OPERATORS
from edgecil_devices.graphs import joined
from edgecil_devices.winograd import kernel_bytes, with_winograd
from edgecil_export import graphs
from edgecil_export.graphs import (
    block_template,
    check_graph,
    folded_trunk,
    tensors_of,
    trunk_template,
    with_weights,
)
from edgecil_export.inference import for_inference
from edgecil_export.precision import Stored, store

Templates = tuple[ModelProto, ModelProto]


def stored_weights(module: nn.Module, precision: str = "fp32") -> dict[str, Stored]:
    return {name: store(tensor, precision) for name, tensor in tensors_of(module).items()}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_block_runs_with_its_own_weights_on_any_number_of_images(
    network: ExpandableNetwork, templates: Templates, precision: str
) -> None:
    feature_map = torch.rand(5, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    for block in network.blocks:
        folded = for_inference(block)
        stored = stored_weights(folded, precision)
        graph = Graph(with_weights(templates[1], stored), "block")
        folded.load_state_dict({n: torch.from_numpy(w.restored) for n, w in stored.items()})
        for count in (1, 5):
            expected = folded(feature_map[:count]).numpy()
            (found,) = graph.run(feature_map[:count].numpy())
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_by_winograd_exported_graphs_compute_the_same(
    network: ExpandableNetwork, templates: Templates, precision: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    modules = (trunk, for_inference(network.blocks[0]))
    graphs = [
        with_weights(template, stored_weights(module, precision))
        for template, module in zip(templates, modules, strict=True)
    ]
    assert min(map(kernel_bytes, graphs)) > 0
    whole = joined(graphs[0], graphs[1:])
    (expected,) = Graph(whole, "plain").run(pixels)
    (found,) = Graph(with_winograd(whole), "by Winograd").run(pixels)
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def test_the_trunk_takes_pixels_and_normalises_them_itself(
    network: ExpandableNetwork, templates: Templates
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    (found,) = Graph(with_weights(templates[0], stored_weights(trunk)), "trunk").run(pixels)
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    normalised = (scaled - network.mean[:, None, None]) / network.std[:, None, None]
    expected = copy.deepcopy(network.trunk).double()(normalised)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_a_template_does_not_depend_on_the_weights(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_templates", {})
    parts = cut_backbone("resnet14")
    block = for_inference(parts.block().eval())  # fresh: many values are zero or equal
    again = block_template(block, torch.zeros(1, 32, 8, 8))
    assert again.SerializeToString(deterministic=True) == templates[1].SerializeToString(
        deterministic=True
    )


class Times(nn.Module):
    """A number that is no weight and in no name."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_a_structure_is_exported_once_and_another_one_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "_templates", {})
    monkeypatch.setattr(graphs, "_exported", lambda *_: object())

    def template(stride: int, slope: float, factor: float, size: int) -> object:
        layers = nn.Sequential(nn.Conv2d(4, 4, 3, stride), nn.LeakyReLU(slope), Times(factor))
        return block_template(for_inference(layers), torch.zeros(1, 4, size, size))

    asked = [(1, 0.1, 2, 8), (2, 0.1, 2, 8), (1, 0.2, 2, 8), (1, 0.1, 3, 8), (1, 0.1, 2, 9)]
    first, again = ([template(*one) for one in asked] for _ in range(2))
    assert len(set(map(id, first))) == len(asked)
    assert list(map(id, again)) == list(map(id, first))


@pytest.mark.parametrize(
    "backbone", ["convnet2", "convnet4", "resnet10", "resnet18", "resnet26-bottleneck"]
)
def test_every_kind_of_backbone_computes_the_same_when_exported(backbone: str) -> None:
    torch.manual_seed(0)
    parts = cut_backbone(backbone)
    trunk, block = parts.trunk(), parts.block()
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    normalised = (pixels.permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    with torch.no_grad():
        block(trunk(normalised.float()))  # gives every BatchNorm statistics to be folded
        trunk, block = trunk.eval(), block.eval()
        expected = copy.deepcopy(block).double()(copy.deepcopy(trunk).double()(normalised))

    half, quarter = torch.full((3,), 0.5), torch.full((3,), 0.25)
    folded, rewritten = folded_trunk(trunk, half, quarter), for_inference(block)
    trunk_graph = with_weights(trunk_template(folded, 64), stored_weights(folded))
    feature_map = folded(pixels).contiguous()
    block_graph = with_weights(block_template(rewritten, feature_map), stored_weights(rewritten))
    (found,) = Graph(block_graph, "block").run(*Graph(trunk_graph, "trunk").run(pixels.numpy()))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_are_refused(templates: Templates) -> None:
    other = for_inference(cut_backbone("resnet20").block().eval())
    with pytest.raises(ExportError, match="the exported graph and the network differ in 0"):
        with_weights(templates[1], stored_weights(other))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(
    network: ExpandableNetwork, templates: Templates, value: float
) -> None:
    block = for_inference(network.blocks[0])
    stored = stored_weights(block)
    name, weight = next(iter(stored.items()))
    values = weight.values.copy()
    values.flat[0] = value
    with pytest.raises(ExportError, match=f"{name} holds values that are not finite"):
        with_weights(templates[1], stored | {name: Stored(values)})


def test_the_specification_lists_the_operators() -> None:
    text = (Path(__file__).parents[2] / "export" / "FORMAT.md").read_text()
    listed = text.partition("no operators but ")[2].partition(" of the default domain")[0]
    assert set(re.findall(r"[A-Z]\w+", listed)) == OPERATORS


def foreign_operator(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


def foreign_domain(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def nested_graph(model: ModelProto) -> None:
    attribute = helper.make_attribute("body", onnx.GraphProto(name="nested"))
    model.graph.node[0].attribute.append(attribute)


def function(model: ModelProto) -> None:
    model.functions.add().name = "f"


def external_data(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def dangling_input(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (foreign_operator, "the graph uses Loop"),
        (foreign_domain, "the graph uses com.example"),
        (nested_graph, "holds other graphs"),
        (function, "holds other graphs"),
        (external_data, "weights outside its file"),
        (dangling_input, "not valid ONNX"),
    ],
)
def test_a_graph_that_is_not_plain_is_refused(
    templates: Templates, change: Callable[[ModelProto], None], message: str
) -> None:
    model = copy.deepcopy(templates[1])
    check_graph(model)
    change(model)
    with pytest.raises(ExportError, match=message):
        check_graph(model)
