"""Runs of a network with ReLU6, exported whole: format 2, eight bits, updates, arrangements."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil.networks.backbones import BACKBONES, Backbone
from edgecil.networks.sources import Origin
from edgecil_devices import Classifier, read_bundle
from edgecil_devices.arrangement import OneGraph, SideBySide
from edgecil_devices.bundle import complete
from edgecil_devices.graphs import operators
from edgecil_devices.package import pack, read_package
from edgecil_devices.runtime import Runtime, _parts
from edgecil_devices.selftest import self_test
from edgecil_devices.teaching.statistics import unpacked
from edgecil_export import ExportRequest, export
from edgecil_export.update import make_update
from tests.export.conftest import SETTINGS, after_first_task, pictures
from tests.export.mobile import lite_like_groups, with_statistics

LITE = replace(SETTINGS, backbone="lite-like")


@pytest.fixture(scope="module", autouse=True)
def _lite_like() -> Iterator[None]:
    """A backbone of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "lite-like", Backbone("lite-like", lite_like_groups, 16, 1, 64))
        yield


@pytest.fixture(scope="module")
def lite(_lite_like: None) -> ExpandableNetwork:
    torch.manual_seed(0)
    network = LITE.empty_network()
    images = network.normalise(torch.from_numpy(pictures()).permute(0, 3, 1, 2))
    with_statistics([network.trunk, network.blocks[0]], images)
    with torch.no_grad():
        with_statistics([network.blocks[1]], network.trunk(images))
        network.head.weight.normal_(0, 3)
        network.head.bias.copy_(-network.head.weight @ network.eval().features(images).mean(dim=0))
    return network


@pytest.fixture
def run_of_lite(run: Path, lite: ExpandableNetwork, exemplars: ExemplarSet) -> Path:
    State.of(LITE, lite, exemplars).write(run / "state", None)
    return run


PIXELS = np.random.default_rng(5).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
REQUESTS = {
    "fp32": ExportRequest(),
    "fp16 weights": ExportRequest(weights="fp16"),
    "int8 weights": ExportRequest(weights="int8"),
    "int8": ExportRequest(compute="int8", force=True),
}


@pytest.mark.parametrize(
    ("name", "error"),
    [("fp32", 1e-5), ("fp16 weights", 1e-2), ("int8 weights", 0.1), ("int8", 0.2)],
)
def test_a_bundle_with_relu6_is_of_format_2_and_computes_what_the_network_does(
    run_of_lite: Path, lite: ExpandableNetwork, name: str, error: float
) -> None:
    out = run_of_lite / "x.edgecil"
    report = export(run_of_lite, out, REQUESTS[name])
    assert report.manifest.format_number == 2
    assert out.read_bytes()[8:12] == b"\2\0\0\0"
    bundle = read_bundle(out)
    assert "Clip" in operators(bundle.blobs["trunk.onnx"])
    assert self_test(bundle, threads=1).samples == 3

    with torch.inference_mode():
        doubled = copy.deepcopy(lite).double()
        expected = doubled(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).double()).numpy()
    found = Classifier.load(out).logits(PIXELS)
    assert np.abs(found - expected).max() < error * np.abs(expected).max()


def test_a_bundle_says_where_the_weights_come_from_that_its_state_started_with(
    run_of_lite: Path, lite: ExpandableNetwork, exemplars: ExemplarSet
) -> None:
    origin = Origin("lite0 of somebody", "Apache-2.0", "ImageNet", "ab" * 32)
    State.of(replace(LITE, origin=origin), lite, exemplars).write(run_of_lite / "state", None)
    manifest = export(run_of_lite, run_of_lite / "x.edgecil").manifest
    assert manifest.origin == {
        "source": "lite0 of somebody",
        "licence": "Apache-2.0",
        "trained_on": "ImageNet",
        "sha256": "ab" * 32,
    }
    assert read_bundle(run_of_lite / "x.edgecil").manifest == manifest


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_exported_twice_the_bytes_are_the_same(run_of_lite: Path, name: str) -> None:
    for out in ("a", "b"):
        export(run_of_lite, run_of_lite / out, REQUESTS[name])
    assert (run_of_lite / "a").read_bytes() == (run_of_lite / "b").read_bytes()


@pytest.mark.parametrize("name", ["fp32", "int8 weights", "int8"])
def test_an_update_of_one_task_carries_no_trunk(
    run_of_lite: Path, lite: ExpandableNetwork, exemplars: ExemplarSet, tmp_path: Path, name: str
) -> None:
    earlier = after_first_task(LITE, lite, exemplars, tmp_path / "earlier")
    export(earlier, tmp_path / "1", REQUESTS[name])
    report = make_update(
        run_of_lite, tmp_path / "1", tmp_path / "u", ExportRequest(force=True), tmp_path / "2"
    )
    assert list(report.carried) == ["block-01.onnx", "head.npy", "golden-logits.npy"]
    update = read_package(tmp_path / "u")
    whole = complete(update, read_package(tmp_path / "1").blobs)
    assert pack(whole.manifest, whole.blobs) == (tmp_path / "2").read_bytes()
    self_test(whole, threads=1)


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_trunk_and_blocks_compute_the_same_as_one_graph_and_side_by_side(
    run_of_lite: Path, name: str
) -> None:
    export(run_of_lite, run_of_lite / "x", REQUESTS[name])
    parts = _parts(read_bundle(run_of_lite / "x"))
    whole, apart = OneGraph(parts, 2, 0.5).run(PIXELS), SideBySide(parts, 2).run(PIXELS)
    for ours, theirs in zip(whole.of_blocks, apart.of_blocks, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=0 if name == "int8" else 1e-4)


@pytest.mark.parametrize(("name", "error"), [("fp32", 1e-3), ("int8", 0.2)])
def test_behind_a_frozen_trunk_statistics_are_of_its_feature_map(
    run_of_lite: Path,
    lite: ExpandableNetwork,
    exemplars: ExemplarSet,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: float,
) -> None:
    # As if it had come pretrained; what is set on a network changes nothing.
    frozen = property(lambda network: True, lambda network, value: None)
    monkeypatch.setattr(ExpandableNetwork, "frozen_trunk", frozen, raising=False)
    export(run_of_lite, run_of_lite / "x", replace(REQUESTS[name], teachable=True))
    bundle = read_bundle(run_of_lite / "x")
    facts = bundle.manifest.teaching
    assert facts is not None
    assert facts.features == "trunk"
    images = lite.normalise(torch.from_numpy(exemplars.pictures.pixels()).permute(0, 3, 1, 2))
    with torch.inference_mode():
        means = lite.eval().trunk(images).mean(dim=(2, 3)).numpy()
    expected = np.stack([means[exemplars.labels() == c].mean(axis=0) for c in range(5)])
    found = unpacked(bundle.blobs["statistics.npy"], "s", facts, expected.shape[1])
    assert np.abs(found.means - expected).max() < error * np.abs(expected).max()
    # And a device embeds pictures as the exporter did.
    embedded = Runtime(bundle, 1).run(exemplars.pictures.pixels()).embedding
    assert np.abs(embedded - means).max() < error * np.abs(means).max()


def test_a_trunk_that_was_trained_here_leaves_them_with_the_blocks(run_of_lite: Path) -> None:
    export(run_of_lite, run_of_lite / "x", ExportRequest(teachable=True))
    manifest_json = read_bundle(run_of_lite / "x").manifest_json
    assert b'"teaching"' in manifest_json
    assert b'"features":"trunk"' not in manifest_json
