import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn

from edgecil.errors import StateCorruptError, TrainingError, UsageError
from edgecil.memory.precisions import PRECISIONS
from edgecil.memory.weights import decode_into, encode, encoded_size
from edgecil.networks import cut_backbone


def small_network(seed: int = 0) -> nn.Sequential:
    """Convolutions with and without bias, BatchNorm with statistics, and a linear layer."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 5, 1),
        nn.Flatten(),
        nn.Linear(5, 7),
    )
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return network


def linear(rows: NDArray[Any]) -> nn.Linear:
    layer = nn.Linear(rows.shape[1], rows.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rows))
    return layer


def decoded(module: nn.Module, blob: bytes) -> nn.Module:
    fresh = copy.deepcopy(module)
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    decode_into(fresh, blob)
    return fresh


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    items = module.state_dict().items()
    return {name: tensor for name, tensor in items if not name.endswith("num_batches_tracked")}


def test_fp32_gives_back_every_bit() -> None:
    network = small_network()
    for name, tensor in state(decoded(network, encode(network, "fp32"))).items():
        assert torch.equal(tensor, state(network)[name]), name


def test_fp16_rounds_matrices_and_keeps_vectors() -> None:
    network = small_network()
    for name, tensor in state(decoded(network, encode(network, "fp16"))).items():
        original = state(network)[name]
        expected = original.half().float() if original.ndim > 1 else original
        assert torch.equal(tensor, expected), name


def test_int8_is_within_half_a_step_of_each_channel_and_keeps_vectors() -> None:
    network = small_network()
    for name, tensor in state(decoded(network, encode(network, "int8"))).items():
        original = state(network)[name]
        if original.ndim < 2:
            assert torch.equal(tensor, original), name
            continue
        rows, decoded_rows = original.flatten(1), tensor.flatten(1)
        step = rows.abs().amax(dim=1, keepdim=True) / 127
        assert ((decoded_rows - rows).abs() <= step * 0.5001).all(), name
        assert len(torch.unique(decoded_rows[0] / step[0])) > 1


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 40),
    exponent=st.floats(-45, 30),
    spread=st.floats(0, 10),
)
def test_int8_of_int8_is_the_same_bytes(
    seed: int, columns: int, exponent: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((50, columns)) * 10.0 ** rng.normal(exponent, spread, (50, 1))
    rows[rng.random(50) < 0.1] = 0
    rows = rows.clip(-3e38, 3e38).astype(np.float32)
    layer = linear(rows)
    blob = encode(layer, "int8")
    again = decoded(layer, blob)
    assert encode(again, "int8") == blob
    weight = again.state_dict()["weight"].numpy()
    peaks = np.abs(rows).max(axis=1)
    assert np.isfinite(weight).all()
    loud = peaks > 1e-30
    ratio = np.abs(weight).max(axis=1)[loud] / peaks[loud]
    assert (np.abs(ratio - 1) < 2.0**-15).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_encoding_twice_gives_the_same_bytes(precision: str) -> None:
    network = small_network()
    blob = encode(network, precision)
    assert encode(decoded(network, blob), precision) == blob


def test_rows_of_zeros_stay_zeros() -> None:
    rows = np.zeros((3, 4), np.float32)
    rows[1] = [1, -2, 0, 0.5]
    weight = decoded(linear(rows), encode(linear(rows), "int8")).state_dict()["weight"]
    assert (weight[0] == 0).all()
    assert (weight[2] == 0).all()
    assert weight[1, 1] == pytest.approx(-2, rel=1e-4)


def test_memory_layout_makes_no_difference() -> None:
    network = small_network()
    blob = encode(network, "int8")
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert encode(last, "int8") == blob
    last.state_dict()["0.weight"].zero_()
    decode_into(last, blob)
    assert encode(last, "int8") == blob


def test_the_size_is_the_elements_and_a_header() -> None:
    # 3*8*9 + 8*5 + 5*7 matrix elements in 8+5+7 rows; vectors 4*8 of BatchNorm, 5 and 7 biases.
    elements, rows, vectors = 291, 20, 44
    expected = {"fp32": 4 * elements, "fp16": 2 * elements, "int8": elements + 4 * rows}
    for precision, matrix_bytes in expected.items():
        header_bytes = len(encode(small_network(), precision)) - matrix_bytes - 4 * vectors
        assert 0 < header_bytes < 250


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backbone", ["convnet2", "resnet14", "resnet32"])
def test_sizes_are_known_without_values(backbone: str, precision: str) -> None:
    parts = cut_backbone(backbone)
    for make in (parts.trunk, parts.block):
        with torch.device("meta"):
            shell = make()
        assert encoded_size(shell, precision) == len(encode(make(), precision))


def test_a_module_without_matrices_can_be_kept() -> None:
    norm = nn.BatchNorm1d(4)
    for precision in PRECISIONS:
        blob = encode(norm, precision)
        assert len(blob) == encoded_size(norm, precision)
        decode_into(norm, blob)
    empty = nn.ReLU()
    decode_into(empty, encode(empty, "int8"))


def test_the_file_is_plain_safetensors() -> None:
    layer = linear(np.array([[1, -0.75], [0, 0.25]], np.float32))
    tensors = load(encode(layer, "int8"))
    assert tensors["weights"].tolist() == [127, -95, 0, 127]  # 0.75 * 127 = 95.25
    assert tensors["scales"].tolist() == pytest.approx([1 / 127, 0.25 / 127], rel=1e-4)
    assert torch.equal(tensors["vectors"], layer.bias)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_weights_that_are_not_finite_are_refused(precision: str, value: float, name: str) -> None:
    network = small_network()
    network.state_dict()[name].view(-1)[3] = value
    with pytest.raises(TrainingError, match="begin another run with a lower --learning-rate"):
        encode(network, precision)


@pytest.mark.parametrize(("precision", "value"), [("fp16", 70000.0), ("int8", 3.4028234e38)])
def test_weights_that_are_too_large_are_refused(precision: str, value: float) -> None:
    layer = linear(np.full((1, 2), value, np.float32))
    told = f"too large for {precision}; begin another run with --state-precision fp32"
    with pytest.raises(TrainingError, match=told):
        encode(layer, precision)
    assert torch.equal(decoded(layer, encode(layer, "fp32")).state_dict()["weight"], layer.weight)


def test_unknown_precisions_are_refused_with_all_listed() -> None:
    for call in (encode, encoded_size):
        with pytest.raises(UsageError, match="fp32, fp16, int8"):
            call(nn.Linear(1, 1), "int4")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_of_another_network_change_nothing(precision: str) -> None:
    network = small_network()
    before = copy.deepcopy(state(network))
    for blob in (
        encode(nn.Linear(5, 7), precision),
        encode(network, precision)[:-1],
        encode(network, precision) + b"\0",
        b"",
        b"\xff" * 100,
    ):
        with pytest.raises(StateCorruptError):
            decode_into(network, blob)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(network).items())
