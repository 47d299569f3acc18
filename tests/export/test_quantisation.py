"""Graphs in eight bits: what is in them, what they compute, and on what they are calibrated."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from edgecil.networks import ExpandableNetwork
from edgecil_devices._onnxruntime import Graph
from edgecil_devices.graphs import joined
from edgecil_export.graphs import (
    block_template,
    folded_trunk,
    tensors_of,
    trunk_template,
    with_weights,
)
from edgecil_export.inference import for_inference
from edgecil_export.precision import store
from edgecil_export.quantisation import quantised, quantised_graphs

Floats = NDArray[np.float32]


def graph_of(template: ModelProto, module: nn.Module) -> bytes:
    return with_weights(template, {n: store(t, "fp32") for n, t in tensors_of(module).items()})


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(3).integers(0, 256, (48, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def graphs(
    network: ExpandableNetwork, templates: tuple[ModelProto, ModelProto]
) -> dict[str, bytes]:
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    blocks = [graph_of(templates[1], for_inference(block)) for block in network.blocks]
    return {"trunk": graph_of(templates[0], trunk), "block-00": blocks[0], "block-01": blocks[1]}


@pytest.fixture(scope="module")
def in_int8(graphs: dict[str, bytes], pixels: NDArray[np.uint8]) -> dict[str, bytes]:
    return quantised_graphs(graphs, [pixels[:32], pixels[8:32]])


def features(graphs: dict[str, bytes], pixels: NDArray[np.uint8], compute: str) -> Floats:
    trunk, *blocks = (Graph(model, name, 1, compute) for name, model in graphs.items())
    (feature_map,) = trunk.run(pixels)
    return np.concatenate([block.run(feature_map)[0] for block in blocks], axis=1)


def test_features_stay_close_on_pictures_that_were_not_calibrated_on(
    graphs: dict[str, bytes], in_int8: dict[str, bytes], pixels: NDArray[np.uint8]
) -> None:
    expected = features(graphs, pixels[32:], "fp32")
    found = features(in_int8, pixels[32:], "int8")
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).mean() + 1e-6


def test_integer_kernels_compute_what_the_graph_says_in_floats(
    in_int8: dict[str, bytes], pixels: NDArray[np.uint8]
) -> None:
    """Up to a step or two of rounding."""
    in_floats = features(in_int8, pixels, "fp32")
    in_integers = features(in_int8, pixels, "int8")
    assert np.abs(in_integers - in_floats).max() < 0.03 * np.abs(in_floats).max()
    assert not np.array_equal(in_integers, in_floats)  # or nothing was computed in integers


def test_batches_change_nothing(in_int8: dict[str, bytes], pixels: NDArray[np.uint8]) -> None:
    whole = features(in_int8, pixels[:7], "int8")
    one_by_one = [features(in_int8, pixels[k : k + 1], "int8")[0] for k in range(7)]
    np.testing.assert_array_equal(whole, one_by_one)


def test_all_convolutions_but_the_first_are_quantised_in_seven_bits_by_channel(
    in_int8: dict[str, bytes],
) -> None:
    for name, data in in_int8.items():
        graph = onnx.load_from_string(data).graph
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        made_by = {node.output[0]: node for node in graph.node}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        in_float = [node for node in convolutions if node.input[1] in tensors]
        assert in_float == (convolutions[:1] if name == "trunk" else [])
        for node in convolutions[len(in_float) :]:
            weight, scales, zero_points = (
                tensors[source] for source in made_by[node.input[1]].input
            )
            assert weight.dtype == np.int8
            assert -64 <= weight.min() <= weight.max() <= 64
            assert scales.shape == (len(weight),)
            assert not zero_points.any()
            assert tensors[made_by[node.input[0]].input[2]].dtype == np.uint8


def test_trunk_and_blocks_as_one_graph_compute_the_very_same(
    in_int8: dict[str, bytes], pixels: NDArray[np.uint8]
) -> None:
    trunk, *blocks = in_int8.values()
    whole = Graph(joined(trunk, blocks), "whole", 2, "int8").run(pixels)
    np.testing.assert_array_equal(np.concatenate(whole, 1), features(in_int8, pixels, "int8"))


def test_the_graphs_say_nothing_about_the_workstation(in_int8: dict[str, bytes]) -> None:
    for data in in_int8.values():
        model = onnx.load_from_string(data)
        assert (model.producer_name, model.ir_version) == ("edgecil", 8)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
        assert len(model.metadata_props) == len(model.graph.value_info) == 0
        assert b"onnxruntime" not in data


def test_equal_inputs_give_equal_bytes_in_another_process(
    graphs: dict[str, bytes], in_int8: dict[str, bytes], pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    np.save(tmp_path / "pixels.npy", pixels[:32])
    (tmp_path / "trunk").write_bytes(graphs["trunk"])
    script = """
import hashlib, sys, numpy as np
from pathlib import Path
from edgecil_export.quantisation import quantised
folder = Path(sys.argv[1])
model = quantised((folder / "trunk").read_bytes(), np.load(folder / "pixels.npy"))
print(hashlib.sha256(model).hexdigest())
"""
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(in_int8["trunk"]).hexdigest()
    assert done.stderr == ""


def test_a_trunk_without_convolutions_stays_as_it_is(pixels: NDArray[np.uint8]) -> None:
    """As DER has it: it only normalises."""
    trunk = folded_trunk(nn.Identity(), torch.full((3,), 0.5), torch.full((3,), 0.25))
    model = graph_of(trunk_template(trunk, 16), trunk)
    assert quantised(model, pixels) == model


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 8, 3)])
def test_operators_around_convolutions_are_allowed(layer: nn.Module) -> None:
    torch.manual_seed(0)
    block = for_inference(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), layer))
    example = torch.rand(4, 3, 16, 16)
    model = graph_of(
        block_template(nn.Sequential(block, nn.Flatten()), example),
        nn.Sequential(block, nn.Flatten()),
    )
    (found,) = Graph(quantised(model, example.numpy()), "block", 1, "int8").run(example.numpy())
    expected = block(example).flatten(1).numpy()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
