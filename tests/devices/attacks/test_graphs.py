"""Attacks by the graphs, head and golden samples of a bundle, named after their cases.

Each bundle here is sound as a file: every sum fits. What is inside must still do no harm.
"""

import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgecil_devices import Classifier
from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import complete
from edgecil_devices.errors import BundleCorruptError, BundleError, BundleVersionError
from edgecil_devices.graph_check import check_graph
from edgecil_devices.graphs import encoded
from edgecil_devices.package import pack, read_package
from edgecil_devices.selftest import self_test

Change = Callable[[ModelProto], None]


def run_bundle(tiny: Any, **changes: Any) -> None:
    """Run the self-test of the tiny network's bundle, with other fields in its manifest."""
    manifest = replace(tiny.manifest(), **changes)
    self_test(complete(read_package(pack(manifest, tiny.blobs())), {}), threads=1)


def with_trunk(tiny: Any, change: Change) -> None:
    model = onnx.load_from_string(tiny.blobs()["trunk.onnx"])
    change(model)
    tiny.overrides["trunk.onnx"] = model.SerializeToString()


def refused(tiny: Any, change: Change, why: str, **changes: Any) -> None:
    with_trunk(tiny, change)
    with pytest.raises(BundleError, match=rf"trunk\.onnx: {why}"):
        run_bundle(tiny, **changes)


def first_weight(model: ModelProto) -> TensorProto:
    weight: TensorProto = model.graph.initializer[0]
    return weight


def add(model: ModelProto, operator: str, inputs: list[str], **attributes: Any) -> None:
    """One more node, whose result nobody needs; onnxruntime would not care."""
    node = helper.make_node(operator, inputs, [f"result-{len(model.graph.node)}"], **attributes)
    model.graph.node.append(node)


def add_weight(model: ModelProto, name: str, values: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))


def test_the_network_that_the_attacks_are_made_of_is_sound(tiny: Any) -> None:
    run_bundle(tiny)
    with_trunk(tiny, lambda model: add(model, "Relu", ["feature_map"]))
    run_bundle(tiny)


# A11: external data


def outside(location: str) -> Change:
    def change(model: ModelProto) -> None:
        tensor = first_weight(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "48"}.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../../secret", "weights.bin", "*/_ORT_MEM_ADDR_/*"]
)
def test_a11_weights_outside_of_the_file_are_refused(tiny: Any, location: str) -> None:
    refused(tiny, outside(location), "it has field 1[34] in a tensor")


def test_a11_weights_outside_are_refused_though_their_bytes_are_here_too(tiny: Any) -> None:
    def change(model: ModelProto) -> None:
        first_weight(model).external_data.add(key="location", value="/etc/passwd")

    refused(tiny, change, "it has field 13 in a tensor")


def tensor_in_an_attribute(model: ModelProto) -> None:
    add(model, "Constant", [], value=numpy_helper.from_array(np.zeros(3, np.float32)))


def tensors_in_an_attribute(model: ModelProto) -> None:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    attribute = onnx.AttributeProto(name="many", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(tensor)
    model.graph.node[0].attribute.append(attribute)


def sparse_tensor(model: ModelProto) -> None:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [2])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))


def nested_graph(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    add_weight(model, "many", np.int64(2**62))
    add_weight(model, "true", np.bool_(True))
    add(model, "Loop", ["many", "true"], body=body)


def function(model: ModelProto) -> None:
    opsets = [helper.make_opsetid("", 18)]
    relu = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "Grow", ["x"], ["y"], [relu], opsets))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (tensor_in_an_attribute, "it has field 5 in an attribute"),
        (tensors_in_an_attribute, "it has field 10 in an attribute"),
        (sparse_tensor, "it has field 15 in a graph"),
        (nested_graph, r"it has field 6 in an attribute|its tensor 'true'"),
        (function, "it has field 25 in a model"),
        (lambda model: model.training_info.add(), "it has field 20 in a model"),
    ],
)
def test_a11_there_are_no_other_places_for_tensors_and_graphs(
    tiny: Any, change: Change, why: str
) -> None:
    refused(tiny, change, why)


# A12: foreign operators, domains and versions


@pytest.mark.parametrize("operator", ["Loop", "If", "Gemm", "ConstantOfShape", "Expand", "Tile"])
def test_a12_operators_that_no_bundle_needs_are_refused(tiny: Any, operator: str) -> None:
    refused(tiny, lambda model: add(model, operator, ["pixels"]), f"it uses '{operator}'")


@pytest.mark.parametrize("operator", ["Clip", "HardSigmoid", "HardSwish"])
def test_a12_operators_of_format_2_are_refused_in_format_1(tiny: Any, operator: str) -> None:
    """Or a reader from before format 2 would get what it does not know."""

    def change(model: ModelProto) -> None:
        add_weight(model, "low", ZERO)
        add_weight(model, "high", SIX)
        add(model, operator, ["feature_map", "low", "high"][: 3 if operator == "Clip" else 1])

    with_trunk(tiny, change)
    run_bundle(tiny, format_number=2)
    with pytest.raises(BundleError, match=rf"trunk\.onnx: it uses '{operator}'"):
        run_bundle(tiny)


def test_a12_operators_of_another_domain_are_refused(tiny: Any) -> None:
    def change(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        add(model, "FusedConv", ["feature_map"], domain="com.microsoft")

    refused(tiny, change, "it has a node of no operator or of another domain")


def test_a12_another_domain_is_refused_though_nothing_uses_it(tiny: Any) -> None:
    def change(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("own", 1))

    refused(tiny, change, r"it uses operators of \[\('', 18\), \('own', 1\)\]")


@pytest.mark.parametrize(("opset", "ir_version"), [(19, 8), (18, 9), (999, 999)])
def test_a12_newer_graphs_say_how_to_get_a_newer_reader(
    tiny: Any, opset: int, ir_version: int
) -> None:
    with pytest.raises(BundleVersionError, match=r"newer than 18 and 8; install a newer edgecil"):
        run_bundle(tiny, opset=opset, ir_version=ir_version)


@pytest.mark.parametrize("part", ["opset", "ir_version"])
def test_a12_graphs_of_another_version_than_the_manifest_says_are_refused(
    tiny: Any, part: str
) -> None:
    with pytest.raises(BundleError, match=r"trunk\.onnx: it (is of IR|uses operators of)"):
        run_bundle(tiny, **{part: 7})


# A13: graphs that allocate without bound


def grows_by_padding(model: ModelProto) -> None:
    add_weight(model, "margins", np.array([0, 0, 2**31, 2**31] * 2, np.int64))
    add(model, "Pad", ["feature_map", "margins"])


def grows_by_a_margin(model: ModelProto) -> None:
    add_weight(model, "kernel", np.ones((4, 4, 1, 1), np.float32))  # 4 channels in, 4 out
    add(model, "Conv", ["feature_map", "kernel"], pads=[2**20, 2**20, 2**20, 2**20])


def grows_step_by_step(model: ModelProto) -> None:
    value = "feature_map"
    add_weight(model, "margins", np.array([0, 0, 1000, 1000] * 2, np.int64))
    for _ in range(20):
        add(model, "Pad", [value, "margins"])
        value = model.graph.node[-1].output[0]


@pytest.mark.parametrize(
    ("change", "operator"),
    [
        (grows_by_padding, "Pad"),
        (grows_by_a_margin, "Conv"),
        (grows_step_by_step, "Pad"),
    ],
)
def test_a13_values_that_would_not_fit_are_refused(
    tiny: Any, change: Change, operator: str
) -> None:
    refused(tiny, change, rf"its {operator} gives \(.*\) numbers a picture")


@pytest.mark.parametrize("operator", ["Add", "Mul"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((20_000, 1), (1, 20_000)),  # each would make the other larger
        ((1, 4, 1, 8), (1, 4, 8, 1)),
        ((1, 4, 8, 8), (1, 3, 1, 1)),
        ((1, 4, 8, 8), (1, 1, 8, 8)),
        ((1, 4, 8, 8), (8,)),
        ((1, 4, 8, 8), (7, 4, 1, 1)),
    ],
)
def test_a13_operands_that_are_neither_alike_nor_a_number_a_channel_are_refused(
    tiny: Any, operator: str, one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    def change(model: ModelProto) -> None:
        add_weight(model, "one", np.ones(one, np.float32))
        add_weight(model, "other", np.ones(other, np.float32))
        add(model, operator, ["other", "one"])

    refused(tiny, change, f"it uses {operator} in a way of its own")


@pytest.mark.parametrize("groups", [0, -1, 3, 4, 2**40])
def test_a13_groups_that_do_not_fit_are_refused(tiny: Any, groups: int) -> None:
    """The kernel is for two groups of two channels."""

    def convolution(model: ModelProto, groups: int) -> None:
        add_weight(model, "kernel", np.ones((6, 2, 1, 1), np.float32))
        add(model, "Conv", ["feature_map", "kernel"], group=groups)

    refused(tiny, lambda model: convolution(model, groups), "it uses Conv in a way of its own")
    tiny.overrides.clear()
    with_trunk(tiny, lambda model: convolution(model, 2))
    run_bundle(tiny)


def clip(model: ModelProto, *limits: Any) -> None:
    for index, limit in enumerate(limits):
        add_weight(model, f"limit-{index}", limit)
    add(model, "Clip", ["feature_map", *(f"limit-{k}" for k in range(len(limits)))])


def computed_limit(model: ModelProto) -> None:
    add_weight(model, "axes", np.array([0, 1, 2, 3]))
    add(model, "ReduceMean", ["feature_map", "axes"], keepdims=0)
    add_weight(model, "six", np.float32(6))
    add(model, "Clip", ["feature_map", model.graph.node[-1].output[0], "six"])


ZERO, SIX = np.float32(0), np.float32(6)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: clip(model),
        lambda model: clip(model, ZERO),
        lambda model: clip(model, SIX, ZERO),
        lambda model: clip(model, ZERO, np.float32(np.nan)),
        lambda model: clip(model, ZERO, np.float32(np.inf)),
        lambda model: clip(model, np.float32(-np.inf), SIX),
        lambda model: clip(model, np.zeros(1, np.float32), np.ones(1, np.float32)),
        lambda model: clip(model, np.int64(0), np.int64(6)),
        computed_limit,
    ],
)
def test_a13_a_clip_without_two_constant_limits_in_order_is_refused(
    tiny: Any, change: Change
) -> None:
    refused(tiny, change, "it uses Clip in a way of its own", format_number=2)


def test_a13_sizes_that_are_computed_are_refused(tiny: Any) -> None:
    """Only a constant says beforehand how large something will be."""

    def change(model: ModelProto) -> None:
        add(model, "Cast", ["pixels"], to=TensorProto.INT64)
        add(model, "Reshape", ["feature_map", model.graph.node[-1].output[0]])

    refused(tiny, change, "it uses Reshape in a way of its own")


@pytest.mark.parametrize("shape", [[2**40], [2**62, 4], [0], [3, 5]])
def test_a10_a_weight_with_another_shape_than_its_bytes_is_refused(
    tiny: Any, shape: list[int]
) -> None:
    def change(model: ModelProto) -> None:
        del first_weight(model).dims[:]
        first_weight(model).dims.extend(shape)

    refused(tiny, change, "its tensor 'weight' is not what it says it is")


def test_a13_a_circle_is_refused(tiny: Any) -> None:
    def change(model: ModelProto) -> None:
        model.graph.node.append(helper.make_node("Relu", ["b"], ["a"]))
        model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))

    refused(tiny, change, "its Relu takes what there is not")


# A14: values that are not finite


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["trunk", "block"])
def test_a14_weights_that_are_not_finite_give_no_answer(
    tiny: Any, place: str, value: float
) -> None:
    weight = tiny.trunk if place == "trunk" else tiny.blocks[1]
    weight[0, 0] = value
    with pytest.raises(BundleError, match="not finite"):
        run_bundle(tiny)


def test_a14_a_head_that_is_not_finite_is_refused(tiny: Any) -> None:
    tiny.head[2, 1] = np.nan
    with pytest.raises(BundleError, match=r"head\.npy holds values that are not finite"):
        run_bundle(tiny)


def with_golden(tiny: Any, pixels: Any, logits: Any) -> Any:
    """The bundle of the tiny network with golden samples."""
    stream = {"golden-pixels": pixels, "golden-logits": logits}
    files = {f"{role}.npy": (role, npy(array)) for role, array in stream.items()}
    blobs = tiny.blobs() | {name: data for name, (_, data) in files.items()}
    more = tuple(Blob.of(name, role, data) for name, (role, data) in files.items())
    manifest = replace(tiny.manifest(), blobs=tiny.manifest().blobs + more)
    return complete(read_package(pack(manifest, blobs)), {})


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype == object)
    return stream.getvalue()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a14_golden_logits_that_are_not_finite_pass_no_self_test(tiny: Any, value: float) -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    logits = np.full((1, 3), value, np.float32)
    with pytest.raises(BundleCorruptError, match="golden logits are not finite"):
        self_test(with_golden(tiny, pixels, logits), threads=1)


# A15: shapes and labels that do not fit


def test_a15_an_output_of_another_shape_than_it_says_is_refused(tiny: Any) -> None:
    model = onnx.load_from_string(tiny.blobs()["trunk.onnx"])
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 9
    with pytest.raises(BundleError, match="its output does not have the shape"):
        check_graph(model.SerializeToString(), "trunk.onnx", tiny.manifest())


@pytest.mark.parametrize("classes", [("ape", "bee"), ("ape", "bee", "cat", "dog")])
def test_a15_more_or_fewer_labels_than_the_head_has_are_refused(
    tiny: Any, classes: tuple[str, ...]
) -> None:
    with pytest.raises(BundleError, match=r"head\.npy has shape \(3, 7\), not"):
        run_bundle(tiny, classes=classes, tasks=(range(1), range(1, len(classes))))


def test_a15_blocks_of_more_features_than_stated_are_refused(tiny: Any) -> None:
    manifest = tiny.manifest()
    blobs = [replace(b, features=2) if b.role == "block" else b for b in manifest.blobs]
    with pytest.raises(BundleError, match=r"block-00\.onnx should have features|not \(3, 5\)"):
        run_bundle(tiny, blobs=tuple(blobs))


@pytest.mark.parametrize(
    ("pixels", "logits"),
    [
        (np.zeros((1, 9, 9, 3), np.uint8), np.zeros((1, 3), np.float32)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 3), np.float32)),
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4), np.float32)),
        (np.zeros((65, 8, 8, 3), np.uint8), np.zeros((65, 3), np.float32)),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 3), np.float32)),
        (np.uint8(0), np.zeros((1, 3), np.float32)),
        (np.uint8(0), np.float32(0)),
        (np.zeros((1, 8, 8, 3), np.uint8), np.float32(0)),
        (np.zeros(8, np.uint8), np.zeros(8, np.float32)),
    ],
)
def test_a15_golden_samples_of_another_shape_are_refused(
    tiny: Any, pixels: Any, logits: Any
) -> None:
    with pytest.raises(BundleCorruptError, match="golden samples have other shapes"):
        self_test(with_golden(tiny, pixels, logits), threads=1)


@pytest.mark.parametrize("shape", [(), (0,), (2, 5, 5, 3), (1, 8, 8), (1, 1, 8, 8, 3)])
def test_a15_golden_samples_of_another_shape_stop_whatever_needs_them(
    tiny: Any, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    bundle = with_golden(tiny, np.zeros(shape, np.uint8), np.zeros((2, 3), np.float32))
    picture = np.zeros((8, 8, 3), np.uint8)
    classifier = Classifier.of(bundle, tmp_path / "x.edgecil", threads=1, compute="fp32")
    classifier.predict(picture)
    with pytest.raises(BundleCorruptError, match="golden samples have other shapes"):
        classifier.teach("mug", [picture])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BundleCorruptError, match="golden samples have other shapes"):
        Classifier.of(bundle, tmp_path / "x.edgecil", threads=1, compute="fp16")


# A16: pickles


class Bomb:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "boom"))


@pytest.mark.parametrize("role", ["head", "golden"])
def test_a16_arrays_of_objects_are_never_unpickled(tiny: Any, tmp_path: Path, role: str) -> None:
    objects = np.array([[Bomb(tmp_path / "boom")]], dtype=object)
    pixels, logits = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 3), np.float32)
    if role == "head":
        tiny.overrides["head.npy"] = npy(objects)
    bundle = with_golden(tiny, pixels, objects if role == "golden" else logits)
    with pytest.raises(BundleCorruptError, match="is not an array"):
        self_test(bundle, threads=1)
    assert not (tmp_path / "boom").exists()
    np.load(io.BytesIO(npy(objects)), allow_pickle=True)  # it would have gone off
    assert (tmp_path / "boom").exists()


def test_what_is_refused_by_the_self_test_is_refused_by_whoever_classifies(
    tiny: Any, tmp_path: Path
) -> None:
    with_trunk(tiny, outside("/etc/passwd"))
    with pytest.raises(BundleError, match="which no bundle may have"):
        Classifier.load(tiny.save(tmp_path / "x.edgecil"))


def test_many_small_fields_do_not_take_the_memory_of_the_board(tiny: Any) -> None:
    """Of two bytes each in the file, they would be hundreds in memory."""
    model = onnx.load_from_string(tiny.blobs()["trunk.onnx"])
    graph = model.graph.SerializeToString() + encoded(12, b"") * 500_000
    model.ClearField("graph")
    data = model.SerializeToString() + encoded(7, graph)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match="more than 10,000 fields in a graph"):
            check_graph(data, "trunk.onnx", tiny.manifest())
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
