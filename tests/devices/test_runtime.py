"""The assembled graphs against sums in float64, and graphs that are not what they should be."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgecil_devices import _onnxruntime
from edgecil_devices.bundle import Bundle, read_bundle
from edgecil_devices.errors import BundleError, BundleVersionError, UsageError
from edgecil_devices.runtime import Runtime

if TYPE_CHECKING:
    from tests.devices.conftest import Graphs, TinyNetwork


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def load(network: "TinyNetwork", folder: Path) -> Runtime:
    return Runtime(read_bundle(network.save(folder / "x.edgecil")))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_logits_equal_the_sums_worked_out_in_float64(
    tiny: "TinyNetwork", bundle_path: Path, pixels: NDArray[np.uint8], threads: int
) -> None:
    runtime = Runtime(read_bundle(bundle_path), threads)
    logits = runtime.run(pixels).logits
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)


def test_a_batch_gives_what_each_image_gives(bundle_path: Path, pixels: NDArray[np.uint8]) -> None:
    runtime = Runtime(read_bundle(bundle_path))
    one_by_one = [runtime.run(image[None]).logits[0] for image in pixels]
    np.testing.assert_allclose(runtime.run(pixels).logits, one_by_one, rtol=1e-5, atol=1e-6)


def test_pixels_need_not_be_contiguous(tiny: "TinyNetwork", bundle_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)[:, ::-1]
    logits = Runtime(read_bundle(bundle_path)).run(pixels).logits
    np.testing.assert_allclose(logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((1, 9, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
    ],
)
def test_other_shapes_and_types_are_refused(bundle_path: Path, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"must be uint8 \('N', 8, 8, 3\)"):
        Runtime(read_bundle(bundle_path)).run(wrong)


def test_threads_rest_between_predictions(
    tiny: "TinyNetwork", tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    # Large enough a head for BLAS libraries to share it among threads.
    classes = tuple(f"class {c}" for c in range(1000))
    head = np.resize(tiny.head, (len(classes), tiny.head.shape[1]))
    network = replace(tiny, head=head, classes=classes)
    runtime = Runtime(read_bundle(network.save(tmp_path / "x.edgecil")), threads=4)

    def afterwards_s() -> float:
        runtime.run(np.resize(pixels, (500, 8, 8, 3)))
        before = time.process_time()
        time.sleep(0.2)
        return time.process_time() - before

    assert any(afterwards_s() < 0.02 for _ in range(3))  # spinning threads would use 0.1 or more


def test_there_is_at_least_one_thread(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        Runtime(read_bundle(bundle_path), threads=0)


def test_half_precision_heads_are_read(
    tiny: "TinyNetwork", graphs: "Graphs", tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    tiny.head = tiny.head.astype(np.float16).astype(np.float64)  # so that nothing is lost below
    tiny.overrides["head.npy"] = graphs.npy(tiny.head.astype(np.float16))
    np.testing.assert_allclose(
        load(tiny, tmp_path).run(pixels).logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5
    )


def test_features_that_are_not_finite_are_refused_by_name(
    tiny: "TinyNetwork", tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    tiny.blocks[1][0, 0] = np.nan
    with pytest.raises(BundleError, match=r"block-01\.onnx gives values that are not finite"):
        load(tiny, tmp_path).run(pixels)


def test_logits_beyond_float32_are_refused(
    tiny: "TinyNetwork", tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    tiny.trunk, tiny.blocks = np.abs(tiny.trunk), [np.full((3, 4), 1e19)] * 2
    tiny.head = np.full((3, 7), 1e20)
    with pytest.raises(BundleError, match="the head gives values that are not finite"):
        load(tiny, tmp_path).run(pixels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_head_that_is_not_finite_is_refused(
    tiny: "TinyNetwork", tmp_path: Path, value: float
) -> None:
    tiny.head[1, 2] = value
    with pytest.raises(BundleError, match=r"head\.npy holds values that are not finite"):
        load(tiny, tmp_path)


def more_classes(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.head = np.ones((4, 7))


def fewer_features(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.blocks[1] = np.ones((2, 4))


def another_feature_map(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.blocks[0] = np.ones((3, 5))


def another_image_size(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["trunk.onnx"] = graphs.trunk(tiny.trunk, image_size_px=9)


def block_for_trunk(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["trunk.onnx"] = graphs.block(tiny.blocks[0])


def trunk_for_block(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["block-00.onnx"] = graphs.trunk(tiny.trunk)


def not_onnx(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["block-01.onnx"] = b"not onnx"


def cut_onnx(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["block-01.onnx"] = graphs.block(tiny.blocks[1])[:-40]


def unknown_operator(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["block-01.onnx"] = graphs.block(tiny.blocks[1]).replace(b"Flatten", b"Flutter")


def two_outputs(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    model = onnx.load_from_string(graphs.block(tiny.blocks[0]))
    model.graph.output.append(onnx.ValueInfoProto(name="mean"))
    tiny.overrides["block-00.onnx"] = model.SerializeToString()


def head_of_doubles(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["head.npy"] = graphs.npy(tiny.head)


def head_of_objects(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["head.npy"] = graphs.npy(tiny.head.astype(np.float32)).replace(b"<f4", b"|O ")


def head_in_columns(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["head.npy"] = graphs.npy(np.asfortranarray(tiny.head.astype(np.float32)))


def head_without_end(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    """Claims 10^12 rows, which must not be allocated."""
    npy = graphs.npy(tiny.head.astype(np.float32))
    tiny.overrides["head.npy"] = npy.replace(b"(3, 7), }            ", b"(1000000000000, 7), }")


def head_in_an_archive(tiny: "TinyNetwork", graphs: "Graphs") -> None:
    tiny.overrides["head.npy"] = b"PK\x03\x04" + bytes(100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (more_classes, r"head\.npy has shape \(4, 7\), not \(3, 7\)"),
        (fewer_features, r"block-01\.onnx should have features float \('N', 3\)"),
        (another_feature_map, r"block-00\.onnx should have feature_map float \('N', 4, 8, 8\)"),
        (another_image_size, r"trunk\.onnx should have pixels uint8 \('N', 8, 8, 3\)"),
        (block_for_trunk, r"trunk\.onnx should have pixels"),
        (trunk_for_block, r"block-00\.onnx should have feature_map"),
        (not_onnx, r"block-01\.onnx: not an ONNX graph"),
        (cut_onnx, r"block-01\.onnx: not an ONNX graph"),
        (unknown_operator, r"block-01\.onnx: it uses 'Flutter', which no bundle may have"),
        (two_outputs, r"block-00\.onnx must have one input and one output"),
        (head_of_doubles, r"head\.npy is not an array"),
        (head_of_objects, r"head\.npy is not an array"),
        (head_in_columns, r"head\.npy is not an array"),
        (head_without_end, r"head\.npy is not an array"),
        (head_in_an_archive, r"head\.npy is not an array"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_runs(
    tiny: "TinyNetwork",
    graphs: "Graphs",
    tmp_path: Path,
    change: "Callable[[TinyNetwork, Graphs], None]",
    message: str,
) -> None:
    change(tiny, graphs)
    with pytest.raises(BundleError, match=message):
        load(tiny, tmp_path)


def test_a_fixed_batch_is_refused(tiny: "TinyNetwork", graphs: "Graphs", tmp_path: Path) -> None:
    tiny.overrides["block-00.onnx"] = graphs.block(tiny.blocks[0], batch=1)
    with pytest.raises(BundleError, match=r"block-00\.onnx should have feature_map"):
        load(tiny, tmp_path)


def test_an_older_onnxruntime_is_told_what_to_install(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(bundle_path)
    newer = Bundle(replace(bundle.manifest, min_onnxruntime="99.1"), bundle.blobs, b"", "x")
    with pytest.raises(BundleVersionError, match=r"pip install 'onnxruntime>=99\.1'"):
        Runtime(newer)
    for installed in ("1.24.4", "1.24.10", "1.25.0.dev3", "2.0"):
        monkeypatch.setattr("onnxruntime.__version__", installed)
        _onnxruntime.require_version("1.24.4")


def test_onnxruntime_reports_to_nobody() -> None:
    code = (
        "import os, sys\n"
        "class Looks:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'onnxruntime':\n"
        "            print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Looks())\n"
        "import edgecil_devices._onnxruntime"
    )
    unset = {name: is_ for name, is_ in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=unset, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "1\n"
