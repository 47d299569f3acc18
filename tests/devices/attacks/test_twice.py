"""Attacks by fields that come twice (A12), of which the last counts for protobuf.

Whoever reads the first, or joins both, checks another graph than the one that runs.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from edgecil_devices.errors import BundleError
from edgecil_devices.graph_check import check_graph
from edgecil_devices.graphs import encoded


def trunk_of(tiny: Any) -> ModelProto:
    return onnx.load_from_string(tiny.blobs()["trunk.onnx"])


def with_part(model: ModelProto, number: int, part: bytes) -> bytes:
    """The model with one more field in its graph."""
    graph = model.graph.SerializeToString() + encoded(number, part)
    rest = ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    return bytes(rest.SerializeToString()) + encoded(7, graph)


def refused(tiny: Any, data: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        check_graph(data, "trunk.onnx", tiny.manifest())


def test_a12_an_operator_said_twice_is_refused(tiny: Any) -> None:
    node = helper.make_node("Relu", ["feature_map"], ["more"]).SerializeToString()
    node += helper.make_node("Loop", [], []).SerializeToString()
    data = with_part(trunk_of(tiny), 1, node)
    assert onnx.load_from_string(data).graph.node[-1].op_type == "Loop"
    refused(tiny, data, r"trunk\.onnx: it has field 4 twice in a node")


def test_a12_a_margin_under_two_names_is_refused(tiny: Any) -> None:
    """Whoever joins the names sees no margin, and nothing that grows."""
    model = trunk_of(tiny)
    kernel = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "kernel")
    model.graph.initializer.append(kernel)
    margins = helper.make_attribute("pads", [200_000] * 4)
    node = helper.make_node("Conv", ["feature_map", "kernel"], ["more"]).SerializeToString()
    node += encoded(5, encoded(1, b"x") + margins.SerializeToString())
    data = with_part(model, 1, node)
    assert list(onnx.load_from_string(data).graph.node[-1].attribute) == [margins]
    refused(tiny, data, r"trunk\.onnx: it has field 1 twice in an attribute")


def test_a12_a_size_that_is_a_name_and_a_number_is_refused(tiny: Any) -> None:
    """Protobuf lets one take the other's place: for it these are eight pictures, not N."""
    sizes = [helper.make_tensor_value_info("", 2, [size]) for size in ("N", 8, 8, 3)]
    n, *others = (one.type.tensor_type.shape.dim[0].SerializeToString() for one in sizes)
    shape = b"".join(encoded(1, size) for size in (n + others[0], *others))
    pixels = encoded(1, b"pixels") + encoded(2, encoded(1, b"\x08\x02" + encoded(2, shape)))
    model = trunk_of(tiny)
    model.graph.ClearField("input")
    data = with_part(model, 11, pixels)
    (source,) = onnx.load_from_string(data).graph.input
    assert source == helper.make_tensor_value_info("pixels", 2, [8, 8, 8, 3])
    refused(tiny, data, "not an ONNX graph")


def doubled(message: Any) -> Iterator[tuple[str, bytes]]:
    """The message with one field twice, here or further in, for each that comes once."""
    for field, value in message.ListFields():
        rest, repeated = type(message)(), hasattr(value, "append")
        rest.CopyFrom(message)
        rest.ClearField(field.name)
        if not repeated:
            alone = type(message)()
            alone.CopyFrom(message)
            for other, _ in rest.ListFields():
                alone.ClearField(other.name)
            name = f"{message.DESCRIPTOR.name}.{field.name}"
            yield name, message.SerializeToString() + alone.SerializeToString()
        if field.message_type is None:
            continue
        parts = [one.SerializeToString() for one in (value if repeated else [value])]
        for index, part in enumerate(value if repeated else [value]):
            for name, changed in doubled(part):
                inner = [*parts[:index], changed, *parts[index + 1 :]]
                encoded_inner = b"".join(encoded(field.number, one) for one in inner)
                yield name, rest.SerializeToString() + encoded_inner


def test_a12_whatever_protobuf_has_once_is_refused_where_it_comes_twice(tiny: Any) -> None:
    """Field by field of all messages of a sound graph, though both are the same."""
    model = trunk_of(tiny)
    model.producer_name, model.producer_version = "edgecil", "1"
    model.graph.value_info.append(helper.make_tensor_value_info("conv", 1, ["N", 4, 8, 8]))
    attributes = {"auto_pad": "NOTSET", "group": 1}
    model.graph.node[-2].attribute.extend(starmap(helper.make_attribute, attributes.items()))
    sigmoid = helper.make_node("HardSigmoid", ["conv"], ["more"], name="last", alpha=0.5)
    sigmoid.domain = ""
    model.graph.node.append(sigmoid)
    manifest = replace(tiny.manifest(), format_number=2)
    check_graph(model.SerializeToString(), "trunk.onnx", manifest)
    tried = set()
    for name, data in doubled(model):
        tried.add(name)
        onnx.load_from_string(data)  # takes it without a word
        with pytest.raises(BundleError, match=r"trunk\.onnx: it has field \d+ twice in an? "):
            check_graph(data, "trunk.onnx", manifest)
    assert tried == {
        *("ModelProto.ir_version", "ModelProto.producer_name", "ModelProto.producer_version"),
        *("ModelProto.graph", "OperatorSetIdProto.domain", "OperatorSetIdProto.version"),
        *("GraphProto.name", "NodeProto.name", "NodeProto.op_type", "NodeProto.domain"),
        *("AttributeProto.name", "AttributeProto.type"),
        *("AttributeProto.f", "AttributeProto.i", "AttributeProto.s"),
        *("TensorProto.name", "TensorProto.data_type", "TensorProto.raw_data"),
        *("ValueInfoProto.name", "ValueInfoProto.type", "TypeProto.tensor_type"),
        *("Tensor.elem_type", "Tensor.shape", "Dimension.dim_param", "Dimension.dim_value"),
    }
