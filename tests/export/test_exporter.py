"""A run in, a bundle out: what it holds, and when there is none."""

import copy
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from edgecil.errors import ExportError, StateCorruptError, UsageError
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil_devices import Classifier, read_bundle
from edgecil_devices.manifest import Accuracy
from edgecil_devices.selftest import self_test
from edgecil_export import ExportRequest, contents, export, exporter, parity
from edgecil_export.accuracy_loss import AccuracyLoss
from edgecil_export.graphs import with_weights
from tests.export.conftest import SETTINGS, edgecil

CLASSES = ("ape", "bee", "cat", "dog", "eel")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


def torch_logits(network: ExpandableNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The network as it is, with BatchNorm, in float64."""
    doubled = copy.deepcopy(network).double()
    with torch.inference_mode():
        logits: NDArray[np.float64] = doubled(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).double()
        ).numpy()
    return logits


@pytest.mark.parametrize(("weights", "error"), [("fp32", 1e-5), ("fp16", 1e-2), ("int8", 5e-2)])
def test_the_bundle_computes_what_the_network_computes(
    run: Path, network: ExpandableNetwork, pixels: NDArray[np.uint8], weights: str, error: float
) -> None:
    report = export(run, run / "x.edgecil", ExportRequest(weights=weights))
    expected = torch_logits(network, pixels)
    found = Classifier.load(report.path).logits(pixels)
    assert np.abs(found - expected).max() < error * np.abs(expected).max()
    assert report.parity.images == 20
    assert report.parity.real


def test_rounded_weights_take_a_half_and_a_quarter(run: Path) -> None:
    sizes = {
        w: export(run, run / w, ExportRequest(weights=w)).size_bytes
        for w in ("fp32", "fp16", "int8")
    }
    assert sizes["fp16"] / sizes["fp32"] == pytest.approx(0.51, abs=0.02)
    assert sizes["int8"] / sizes["fp32"] == pytest.approx(0.28, abs=0.03)


@pytest.mark.parametrize(("kept", "bytes_a_weight"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_weights_are_stored_as_the_run_keeps_them_unless_asked_otherwise(
    run: Path, network: ExpandableNetwork, kept: str, bytes_a_weight: int
) -> None:
    State.of(replace(SETTINGS, precision=kept), network, State.read(run / "state").exemplars).write(
        run / "state", None
    )
    manifest = export(run, run / "x.edgecil").manifest
    assert manifest.weights == kept
    block = sum(p.numel() for p in network.blocks[0].parameters() if p.dim() > 1)
    found = manifest.blocks[0].size_bytes / block
    assert bytes_a_weight < found < bytes_a_weight + 0.4
    in_fp32 = export(run, run / "y.edgecil", ExportRequest(weights="fp32")).manifest
    assert in_fp32.weights == "fp32"


def test_the_manifest_says_what_the_state_is(run: Path) -> None:
    manifest = export(run, run / "x.edgecil", ExportRequest(weights="int8")).manifest
    assert read_bundle(run / "x.edgecil").manifest == manifest
    assert manifest.classes == ("ape", "bee", "cat", "dog", "eel")
    assert manifest.tasks == (range(3), range(3, 5))
    assert manifest.preprocessing.image_size_px == 16
    assert (manifest.mean, manifest.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert manifest.weights == "int8"
    assert manifest.accuracy == Accuracy(75.0, (80.0, 70.0))
    assert manifest.network == {"method": "memo", "backbone": "resnet14", "cut": "last"}
    assert [blob.name for blob in manifest.blobs] == [
        "trunk.onnx",
        "block-00.onnx",
        "block-01.onnx",
        "head.npy",
        "golden-pixels.npy",
        "golden-logits.npy",
    ]
    assert [(block.task, block.features) for block in manifest.blocks] == [(0, 64), (1, 64)]


def test_a_network_that_format_1_can_hold_is_written_in_format_1(run: Path) -> None:
    """So that the bundle stays what it was, and older readers take it."""
    assert export(run, run / "x.edgecil").manifest.format_number == 1
    assert (run / "x.edgecil").read_bytes()[8:12] == b"\1\0\0\0"
    assert b'{"format":1,' in (run / "x.edgecil").read_bytes()


def test_accuracy_is_left_out_where_this_state_was_not_measured(run: Path) -> None:
    (run / "results.json").unlink()
    assert export(run, run / "x.edgecil").manifest.accuracy is None


def test_one_block_for_all_tasks_belongs_to_the_last(
    run: Path, exemplars: ExemplarSet, network: ExpandableNetwork
) -> None:
    settings = replace(State.read(run / "state").settings, method="replay", block_count=1)
    State.of(settings, settings.empty_network(), exemplars).write(run / "state", None)
    manifest = export(run, run / "x.edgecil").manifest
    assert [block.task for block in manifest.blocks] == [1]


def test_exported_twice_the_bytes_are_the_same(run: Path) -> None:
    export(run, run / "one.edgecil", ExportRequest(weights="int8"))
    export(run, run / "two.edgecil", ExportRequest(weights="int8"))
    assert (run / "one.edgecil").read_bytes() == (run / "two.edgecil").read_bytes()


def test_the_graphs_are_plain_and_say_nothing_about_the_workstation(run: Path) -> None:
    export(run, run / "x.edgecil", ExportRequest(weights="fp16"))
    for name, data in read_bundle(run / "x.edgecil").blobs.items():
        for trace in (b"site-packages", b".py", b"torch", b"pkg.", str(Path.home()).encode()):
            assert trace not in data, (name, trace)
        if name.endswith(".onnx"):
            model = onnx.load_from_string(data)
            onnx.checker.check_model(model, full_check=True)
            assert (model.producer_name, model.ir_version) == ("edgecil", 8)
            assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
            assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_int8_compute_says_what_it_costs_and_computes_nearly_the_same(
    run: Path, network: ExpandableNetwork, pixels: NDArray[np.uint8]
) -> None:
    report = export(run, run / "x.edgecil", ExportRequest(compute="int8", max_loss_points=40))
    manifest = report.manifest
    assert (manifest.compute, manifest.weights) == ("int8", "int8")
    assert manifest.accuracy is None  # these are no test pictures
    assert report.loss is not None
    assert report.lines()[-3] == report.loss.line()
    assert "of 10 exemplars that were not calibrated on" in report.loss.line()
    expected = torch_logits(network, pixels)
    found = Classifier.load(report.path).logits(pixels)
    assert 0 < np.abs(found - expected).max() < 0.25 * np.abs(expected).max()
    assert self_test(read_bundle(report.path)).samples > 0
    again = export(run, run / "y.edgecil", ExportRequest(compute="int8", force=True))
    assert again.path.read_bytes() == report.path.read_bytes()


def test_int8_compute_keeps_old_blocks_when_a_task_comes(run: Path) -> None:
    """So that an update carries the new block alone."""
    request = ExportRequest(compute="int8", force=True)
    later = export(run, run / "later.edgecil", request).manifest
    state = State.read(run / "state")
    network = state.network()
    earlier = replace(state.settings, block_count=1, classes=CLASSES[:3], task_sizes=(3,))
    small = earlier.empty_network()
    small.trunk.load_state_dict(network.trunk.state_dict())
    small.blocks[0].load_state_dict(network.blocks[0].state_dict())
    exemplars = replace(state.exemplars, payloads=state.exemplars.payloads[:3])
    State.of(earlier, small, exemplars).write(run / "state", None)
    manifest = export(run, run / "earlier.edgecil", request).manifest
    assert manifest.trunk == later.trunk
    assert manifest.blocks == later.blocks[:1]


def test_int8_compute_that_costs_too_much_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    much = AccuracyLoss("test pictures", 100, 90.0, Accuracy(80.0, ()), apart=12)
    monkeypatch.setattr(exporter, "accuracy_loss", lambda *_: much)
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=r"a loss of more than 1 points; nothing was written"):
        export(run, tmp_path / "out" / "x.edgecil", ExportRequest(compute="int8"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("asked", [("--compute", "int8", "--force"), ("--weights", "fp16")])
def test_what_half_precision_cannot_hold_is_exported_as_it_says(
    run: Path,
    pixels: NDArray[np.uint8],
    exemplars: ExemplarSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: tuple[str, ...],
) -> None:
    state = State.read(run / "state")
    network = state.network()
    network.head.weight.data *= 1e5
    State.of(state.settings, network, exemplars).write(run / "state", None)
    words = ("export", run, "--out", run / "x.edgecil")
    assert edgecil(monkeypatch, *words, *asked) == 1
    _, _, remedy = capsys.readouterr().err.partition("half precision; export with ")
    assert edgecil(monkeypatch, *words, *asked, *remedy.split()) == 0
    expected = torch_logits(network, pixels)
    found = Classifier.load(run / "x.edgecil").logits(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_int8_compute_takes_int8_weights_alone(run: Path) -> None:
    with pytest.raises(UsageError, match="leave out --weights"):
        export(run, run / "x.edgecil", ExportRequest(weights="fp16", compute="int8"))


def test_nothing_but_the_bundle_is_left_in_its_folder(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(run, tmp_path / "out" / "x.edgecil")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.edgecil"]


def test_a_state_without_exemplars_is_compared_on_noise(run: Path, exemplars: ExemplarSet) -> None:
    state = State.read(run / "state")
    without = replace(state, exemplars=exemplars.truncate([0] * 5))
    without.write(run / "state", None)
    found = export(run, run / "x.edgecil").parity
    assert (found.images, found.real) == (64, False)


def test_the_report_shows_files_comparison_and_total(run: Path) -> None:
    report = export(run, run / "x.edgecil")
    trunk, *blocks, head, _, _, check, wrote = report.lines()
    assert trunk.startswith("trunk.onnx     ")
    assert trunk.endswith("opset 18  IR 8  fp32")
    assert len(blocks) == 2
    assert head.endswith(" 2 708 bytes")  # 5 classes x 129 columns x 4 bytes and 128 of header
    assert check.startswith("check: 20 exemplars, max |difference| ")
    assert check.endswith("top-1 agree 20/20")
    assert wrote.startswith(f"wrote {run / 'x.edgecil'} (")
    assert wrote.endswith(" bytes, 5 classes, 2 tasks)")


Refusal = Callable[[pytest.MonkeyPatch], None]


def blocks_mixed_up(patch: pytest.MonkeyPatch) -> None:
    """Every block's graph gets the weights of the first one's."""
    graphs: dict[str, bytes] = {}

    def with_first_weights(template: Any, stored: Any) -> bytes:
        return graphs.setdefault(template.graph.name, with_weights(template, stored))

    patch.setattr(contents, "with_weights", with_first_weights)


def rounded_too_far(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(parity.LEAST_AGREEMENT, "fp32", 1.01)


def disk_full(patch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(exporter, "write_synced", write_half)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (blocks_mixed_up, "logits differ from the network's by"),
        (rounded_too_far, "only 20 of 20 exemplars keep their class"),
        (disk_full, "x.edgecil cannot be written .No space left on device.; make room"),
    ],
)
def test_what_cannot_be_vouched_for_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Refusal, message: str
) -> None:
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "x.edgecil"
    old.write_bytes(b"the old bundle")
    cause(monkeypatch)
    with pytest.raises(ExportError, match=message):
        export(run, old)
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"the old bundle"]


def test_wrong_arguments_are_refused_before_any_work(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown weights 'int4'; choose one of: fp32, fp16, int8"):
        export(run, tmp_path / "x.edgecil", ExportRequest(weights="int4"))
    with pytest.raises(ExportError, match="cannot be written"):
        export(run, tmp_path / "none" / "x.edgecil")
    with pytest.raises(ExportError, match="cannot be written"):
        export(run, tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="not a run folder"):
        export(tmp_path / "file", tmp_path / "x.edgecil")


def test_a_damaged_state_is_not_exported(run: Path) -> None:
    trunk = run / "state" / "trunk.safetensors"
    trunk.write_bytes(trunk.read_bytes()[:-1])
    with pytest.raises(StateCorruptError):
        export(run, run / "x.edgecil")
