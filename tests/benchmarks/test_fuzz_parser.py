"""A few seconds of the fuzzer, and of hypothesis, on a bundle and an update."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgecil_devices.errors import BundleError
from edgecil_devices.package import pack, read_package
from tests.benchmarks.scripts import loaded
from tests.devices.conftest import tiny as tiny


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Any]:
    with loaded("fuzz_parser") as module:
        yield module


def with_operators_of_format_2(trunk: bytes) -> bytes:
    """The trunk with ReLU6, HardSwish and a gate in the place of its Relu."""
    model = onnx.load_from_string(trunk)
    nodes = model.graph.node
    assert nodes.pop().op_type == "Relu"
    for name, value in (("low", 0), ("high", 6)):
        limit = numpy_helper.from_array(np.array(value, np.float32), name)
        model.graph.initializer.append(limit)
    nodes.extend(
        (
            helper.make_node("Clip", ["conv", "low", "high"], ["clipped"]),
            helper.make_node("HardSwish", ["clipped"], ["swished"]),
            helper.make_node("GlobalAveragePool", ["swished"], ["means"]),
            helper.make_node("HardSigmoid", ["means"], ["gates"], alpha=0.2, beta=0.4),
            helper.make_node("Mul", ["gates", "swished"], ["feature_map"]),
        )
    )
    return bytes(model.SerializeToString())


@pytest.fixture(params=[1, 2])
def files(tiny: Any, request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    if request.param == 2:
        tiny.overrides["trunk.onnx"] = with_operators_of_format_2(tiny.blobs()["trunk.onnx"])
    manifest, blobs = replace(tiny.manifest(), format_number=request.param), tiny.blobs()
    head = {"head.npy": blobs["head.npy"]}
    return pack(manifest, blobs), pack(manifest, head, base="ab" * 32)


def test_six_hundred_mutants_end_in_an_error_of_ours_or_pass(
    fuzzer: Any, files: tuple[bytes, bytes]
) -> None:
    found = fuzzer.fuzz(fuzzer.subjects_of(*files), 1993, lambda tried: tried < 600)
    assert {kind: counter.total() for kind, counter in found.items()} == dict.fromkeys(
        ("bytes", "manifest", "blobs"), 200
    )
    assert found["bytes"]["accepted"] < 20  # those that moved nothing
    assert found["blobs"]["accepted"] < 200 > found["manifest"]["accepted"]


def test_an_exception_that_is_not_ours_ends_the_fuzzer(
    fuzzer: Any, files: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = fuzzer.subjects_of(*files)

    def broken(data: bytes) -> None:
        raise KeyError("classes")

    monkeypatch.setattr(fuzzer, "read_package", broken)
    with pytest.raises(KeyError) as caught:
        fuzzer.fuzz(subjects, 1993, lambda tried: True)
    assert caught.value.__notes__ == ["seed 1993, mutant 0, bytes"]


@settings(
    max_examples=300,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_change_of_any_stretch_goes_unnoticed(files: tuple[bytes, bytes], data: Any) -> None:
    good = data.draw(st.sampled_from(files))
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 64)))
    bad = good[:start] + data.draw(st.binary(max_size=64)) + good[end:]
    if bad == good:
        return
    with pytest.raises(BundleError):
        read_package(bad)
