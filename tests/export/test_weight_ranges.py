"""How far weights reach in eight bits, by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import GraphProto, helper, numpy_helper

from edgecil_export.weight_ranges import weight_ranges

Values = NDArray[Any]


def graph(**convolutions: tuple[Values, int]) -> GraphProto:
    """A graph of convolutions, each with its weight and its groups."""
    nodes = [
        helper.make_node("Conv", ["x", f"{name}.weight"], [name], name, group=groups)
        for name, (_, groups) in convolutions.items()
    ]
    weights = [
        numpy_helper.from_array(weight.astype(np.float32), f"{name}.weight")
        for name, (weight, _) in convolutions.items()
    ]
    return helper.make_graph(nodes, "g", [], [], weights)


def reaches(graph: GraphProto, name: str) -> list[float]:
    found = weight_ranges(graph, [])[f"{name}.weight"]
    assert all(float(r["rmin"]) == -float(r["rmax"]) and r["axis"] == 0 for r in found)
    return [float(channel["rmax"]) for channel in found]


DEPTHWISE = np.array([[3, -4, 1], [0.5, 0, 0]], np.float32).reshape(2, 1, 1, 3)


def test_a_depthwise_convolution_takes_all_eight_bits() -> None:
    assert reaches(graph(d=(DEPTHWISE, 2)), "d") == [4, 0.5]


def test_a_pointwise_convolution_keeps_two_neighbours_within_128_steps() -> None:
    # In steps of reach / 127, the neighbours 3 and -2 have 128 together, as the lone 6 has 127.
    weight = np.array([[3, -2, 1, 0, 1], [1, 1, 0, 0, 6]], np.float32)[:, :, None, None]
    found = reaches(graph(d=(DEPTHWISE, 2), p=(weight, 1)), "p")
    assert found == pytest.approx([5 * 127 / 128, 6])
    steps = np.rint(weight[:, :, 0, 0] / (np.array(found)[:, None] / 127))
    assert np.abs(steps[0, :2]).sum() <= 128
    assert steps[1, 4] == 127


@pytest.mark.parametrize("value", [0, 1e-30, 1e-9])
def test_a_channel_of_hardly_anything_gets_a_range_that_its_bias_fits_in(value: float) -> None:
    weight = DEPTHWISE.copy()
    weight[1] = value
    first, second = reaches(graph(d=(weight, 2)), "d")
    assert first == 4
    # A bias of 10 and activations up to 6 in 255 steps: fewer steps than an int32 has.
    assert 10 / (6 / 255 * second / 127) < 2**31
    assert second < 1e-3


def test_weights_of_nothing_but_zeros_have_a_range() -> None:
    assert min(reaches(graph(d=(np.zeros((2, 1, 1, 3)), 2)), "d")) > 0


def test_graphs_without_depthwise_convolutions_stay_as_they_were() -> None:
    assert weight_ranges(graph(p=(np.ones((4, 4, 1, 1)), 1)), []) == {}


def test_other_convolutions_and_those_in_float_are_left_alone() -> None:
    whole = graph(
        d=(DEPTHWISE, 2),
        large=(np.ones((4, 4, 3, 3)), 1),
        grouped=(np.ones((4, 2, 1, 1)), 2),
        two_each=(np.ones((4, 1, 3, 3)), 2),
    )
    assert weight_ranges(whole, []).keys() == {"d.weight"}
    assert weight_ranges(whole, ["d"]) == {}
