"""Ports and joined graphs, against the onnx package, and bytes that are no graph."""

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecil_devices._onnxruntime import Graph
from edgecil_devices.errors import BundleError
from edgecil_devices.graph_shapes import lowest_format, operators_of_format
from edgecil_devices.graphs import (
    Port,
    attribute_of,
    encoded,
    encoded_number,
    fields,
    joined,
    operators,
    ports,
    tensor_of,
)

if TYPE_CHECKING:
    from tests.devices.conftest import Graphs, TinyNetwork


def test_ports_are_what_the_graph_declares(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    assert ports(graphs.trunk(tiny.trunk)) == (
        [Port("pixels", "uint8", ("N", 8, 8, 3))],
        [Port("feature_map", "float", ("N", 4, 8, 8))],
    )
    assert ports(graphs.block(tiny.blocks[0], batch=2))[1] == [Port("features", "float", (2, 3))]


def test_operators_are_those_of_the_nodes(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    assert operators(graphs.block(tiny.blocks[0])) == {"Conv", "GlobalAveragePool", "Flatten"}


@pytest.mark.parametrize("operator", ["Clip", "HardSigmoid", "HardSwish"])
def test_a_format_is_as_low_as_its_operators_allow(operator: str) -> None:
    assert lowest_format(operators_of_format(1)) == lowest_format([]) == 1
    assert lowest_format({"Conv", operator}) == 2
    assert operators_of_format(2) - operators_of_format(1) >= {operator}


def test_a_joined_graph_is_valid_and_has_every_blocks_output(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    blocks = [graphs.block(weight) for weight in tiny.blocks]
    for trunk, source in ((graphs.trunk(tiny.trunk), "pixels"), (None, "feature_map")):
        model = onnx.load_from_string(joined(trunk, blocks))
        onnx.checker.check_model(model, full_check=True)
        assert [value.name for value in model.graph.input] == [source]
        assert [value.name for value in model.graph.output] == ["0.features", "1.features"]
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]


def test_a_joined_graph_computes_what_its_parts_compute(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    trunk, blocks = graphs.trunk(tiny.trunk), [graphs.block(weight) for weight in tiny.blocks]
    feature_map = Graph(trunk, "trunk").run(pixels)[0]
    expected = [Graph(block, "block").run(feature_map)[0] for block in blocks]
    found = Graph(joined(trunk, blocks), "joined").run(pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_joined_graph_gives_the_feature_map_too_where_it_is_wanted(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    trunk, blocks = graphs.trunk(tiny.trunk), [graphs.block(weight) for weight in tiny.blocks]
    model = joined(trunk, blocks, with_map=True)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    feature_map, *features = Graph(model, "joined").run(pixels)
    np.testing.assert_array_equal(feature_map, Graph(trunk, "trunk").run(pixels)[0])
    np.testing.assert_array_equal(features, Graph(joined(trunk, blocks), "joined").run(pixels))


def test_an_input_that_is_left_out_stays_so(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    block = onnx.load_from_string(graphs.block(tiny.blocks[0]))
    block.graph.node[0].input.append("")  # a convolution without a bias, said aloud
    node = onnx.load_from_string(joined(None, [block.SerializeToString()])).graph.node[0]
    assert list(node.input) == ["feature_map", "0.weight", ""]


def test_every_cut_of_a_graph_is_refused_or_lacks_something(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    block = graphs.block(tiny.blocks[0])
    whole = ports(block)
    for size in range(len(block)):
        try:
            found = ports(block[:size])
        except BundleError:
            continue
        assert found != whole or size > len(block) - 8  # the opset comes last


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        ports(data)
        joined(data, [data])


def test_numbers_without_an_end_are_refused() -> None:
    with pytest.raises(BundleError, match="not an ONNX graph"):
        ports(b"\xff" * 11)


def value(*parts: bytes) -> bytes:
    """A graph that has an input made of these fields."""
    return encoded(7, encoded(11, b"".join(parts)))


NAME, SHAPE = encoded(1, b"pixels"), encoded(2, encoded(1, encoded_number(1, 8)))
TENSOR = encoded(1, encoded_number(1, 2) + SHAPE)
TYPE = encoded(2, TENSOR)


@pytest.mark.parametrize(
    "parts",
    [
        (NAME, NAME, TYPE),
        (NAME, TYPE, TYPE),
        (NAME, encoded(2, TENSOR * 2)),
        (NAME, encoded(2, encoded(1, encoded_number(1, 1) + encoded_number(1, 2) + SHAPE))),
        (NAME, encoded(2, encoded(1, encoded_number(1, 2) + SHAPE * 2))),
        (NAME, encoded(2, encoded(1, encoded(2, encoded(1, encoded_number(1, 8) * 2))))),
        (NAME, encoded(2, encoded(1, encoded(2, encoded(1, encoded(2, b"N") + b"\x08\x08"))))),
    ],
)
def test_an_input_that_says_something_twice_is_refused(parts: tuple[bytes, ...]) -> None:
    assert ports(value(NAME, TYPE))[0] == [Port("pixels", "uint8", (8,))]
    onnx.load_from_string(value(*parts))  # is read without a word
    with pytest.raises(BundleError, match="not an ONNX graph"):
        ports(value(*parts))


@pytest.mark.parametrize("again", [NAME, encoded_number(3, 1), encoded(4, b"NOTSET")])
def test_an_attribute_may_repeat_integers_alone(again: bytes) -> None:
    integers = encoded_number(8, 5) + encoded_number(8, 6)
    assert attribute_of(fields(NAME + integers)) == ("pixels", (5, 6))
    assert attribute_of(fields(NAME + encoded_number(3, 7))) == ("pixels", (7,))
    assert attribute_of(fields(NAME + encoded(4, b"VALID"))) == ("pixels", ("VALID",))
    with pytest.raises(BundleError, match="not an ONNX graph"):
        attribute_of(fields(NAME + integers + again * 2))


@pytest.mark.parametrize("number", [2, 8, 9])
def test_a_tensor_may_repeat_sizes_alone(number: int) -> None:
    sizes = encoded_number(1, 5) + encoded_number(1, 6)
    parts = {2: encoded_number(2, 1), 8: encoded(8, b"weight"), 9: encoded(9, bytes(120))}
    found = tensor_of(fields(sizes + b"".join(parts.values())))
    assert (found.name, found.shape, found.types) == ("weight", (5, 6), [1])
    with pytest.raises(BundleError, match="not an ONNX graph"):
        tensor_of(fields(sizes + b"".join(parts.values()) + parts[number]))
