"""How blocks share threads, what is measured, and where the choice is kept or not."""

import json
import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecil_devices import arrangement, arrangement_choice, choosing
from edgecil_devices.arrangement import OneGraph, Parts, SideBySide
from edgecil_devices.arrangement_choice import Choice, keep_choice, key_of, read_choice
from edgecil_devices.bundle import Bundle, read_bundle
from edgecil_devices.errors import BundleError
from edgecil_devices.runtime import Runtime
from tests.devices.run_clock import RunClock

if TYPE_CHECKING:
    from tests.devices.conftest import Graphs, TinyNetwork

SIDE, WHOLE = arrangement_choice.SIDE_BY_SIDE, arrangement_choice.ONE_GRAPH


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return read_bundle(bundle_path)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def keep(file: Path, bundle: Bundle, threads: int, name: str) -> None:
    keep_choice(file, key_of(bundle.manifest_json, threads), Choice(name, 0.25, "fp32"))


@pytest.mark.parametrize("name", [SIDE, WHOLE])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_every_arrangement_gives_the_sums_worked_out_in_float64(
    tiny: "TinyNetwork",
    bundle: Bundle,
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    name: str,
    threads: int,
) -> None:
    keep(tmp_path / "kept.json", bundle, threads, name)
    runtime = Runtime(bundle, threads, tmp_path / "kept.json")
    assert runtime.arrangement == name
    found = runtime.run(pixels)
    np.testing.assert_allclose(found.logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)
    assert min(found.trunk_ms, found.blocks_ms, found.head_ms) > 0


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 2, 3, 5, 10, 20, 100])
def test_groups_hold_every_block_once_and_burden_threads_evenly(blocks: int, threads: int) -> None:
    groups = arrangement._groups(blocks, threads)
    assert [k for group in groups for k in group] == list(range(blocks))
    sizes = sorted(map(len, groups))
    assert sizes[-1] <= 4
    assert sizes[-1] - sizes[0] <= 1
    # Each thread takes a group when it is free, so in the end none has two groups more.
    assert len(groups) % threads == 0 or len(groups) == blocks


def test_blocks_of_many_groups_come_in_order(
    tiny: "TinyNetwork", graphs: "Graphs", pixels: NDArray[np.uint8]
) -> None:
    weights = [np.full((3, 4), float(k)) for k in range(11)]
    parts = Parts(
        graphs.trunk(tiny.trunk),
        tuple(map(graphs.block, weights)),
        "trunk.onnx",
        tuple(f"block-{k:02}.onnx" for k in range(11)),
        (3,) * 11,
        "fp32",
    )
    unit = SideBySide(replace(parts, blocks=(graphs.block(np.ones((3, 4))),) * 11), 1)
    expected = unit.run(pixels).of_blocks
    for found in (SideBySide(parts, 2), SideBySide(parts, 3), OneGraph(parts, 2, 0.5)):
        for k, features in enumerate(found.run(pixels).of_blocks):
            np.testing.assert_allclose(features, k * expected[k], rtol=1e-5, atol=1e-5)


def test_every_arrangement_gives_the_feature_map_where_it_is_wanted(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    expected = np.maximum(0, np.einsum("nhwc,kc->nkhw", pixels / 255, tiny.trunk))
    blocks = tuple(map(graphs.block, tiny.blocks))
    names = ("block-00.onnx", "block-01.onnx")
    parts = Parts(graphs.trunk(tiny.trunk), blocks, "trunk.onnx", names, (3, 3), "fp32", True)
    for found in (SideBySide(parts, 1), SideBySide(parts, 2), OneGraph(parts, 2, 0.5)):
        computed = found.run(pixels)
        assert computed.feature_map is not None
        np.testing.assert_allclose(computed.feature_map, expected, rtol=1e-5, atol=1e-5)
        assert [one.shape for one in computed.of_blocks] == [(2, 3), (2, 3)]


def test_one_thread_needs_no_measurement_and_keeps_nothing(bundle: Bundle, tmp_path: Path) -> None:
    assert Runtime(bundle, 1, tmp_path / "kept.json").arrangement == SIDE
    assert list(tmp_path.glob("*.json")) == []


def measured_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where arrangements are measured from now on: how many blocks they have."""
    measured: list[int] = []

    def count(parts: Parts, threads: int, image_size_px: int) -> tuple[SideBySide, Choice]:
        measured.append(len(parts.blocks))
        return SideBySide(parts, threads), Choice(SIDE, 0.5, "fp32")

    monkeypatch.setattr(choosing, "_measured", count)
    return measured


def of_blocks(count: int, tiny: "TinyNetwork", graphs: "Graphs") -> Parts:
    trunk, block = graphs.trunk(tiny.trunk), graphs.block(tiny.blocks[0])
    names = ("block.onnx",) * count
    return Parts(trunk, (block,) * count, "trunk.onnx", names, (3,) * count, "fp32")


def test_many_blocks_need_no_measurement(
    tiny: "TinyNetwork", graphs: "Graphs", monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measured_blocks(monkeypatch)
    for threads, blocks in ((2, 7), (2, 8), (4, 8), (5, 9), (5, 10)):
        choosing.choose(of_blocks(blocks, tiny, graphs), threads, 8, None, "key")
    assert measured == [7, 9]


def test_large_graphs_are_not_in_memory_twice_to_be_measured(
    tiny: "TinyNetwork", graphs: "Graphs", monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measured_blocks(monkeypatch)
    parts = of_blocks(3, tiny, graphs)
    size_bytes = len(parts.trunk) + 3 * len(parts.blocks[0])
    for most_bytes in (size_bytes, size_bytes - 1):
        monkeypatch.setattr(choosing, "_MOST_BYTES_TRIED", most_bytes)
        choosing.choose(parts, 2, 8, None, "key")
    assert measured == [3]


def test_the_faster_arrangement_is_chosen_and_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slow, expected in ((SideBySide, WHOLE), (OneGraph, SIDE)):
        file = tmp_path / f"{slow.__name__}.json"
        with monkeypatch.context() as patch:
            original = slow.run

            def delayed(self, pixels, original=original):  # type: ignore[no-untyped-def]
                time.sleep(0.3)  # far above what other processes cost
                found = original(self, pixels)
                return replace(found, blocks_ms=found.blocks_ms + 300)

            patch.setattr(slow, "run", delayed)
            assert Runtime(bundle, 2, file).arrangement == expected
        # Without the delay, too, because it is kept.
        with monkeypatch.context() as patch:
            patch.setattr(choosing, "_measured", pytest.fail)
            assert Runtime(bundle, 2, file).arrangement == expected


def test_measuring_takes_well_under_half_a_second(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = RunClock(monkeypatch)

    def seconds() -> float:
        measured, computed = clock.now_s, time.thread_time()
        Runtime(bundle, 2)
        return clock.now_s - measured + time.thread_time() - computed

    assert 0.1 < min(seconds() for _ in range(4)) < 0.45


def test_a_choice_holds_for_one_bundle_one_number_of_threads_and_one_onnxruntime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {key_of(b"a", 2), key_of(b"b", 2), key_of(b"a", 3)}
    assert key_of(b"a", 2) in keys
    monkeypatch.setattr("onnxruntime.__version__", "9.9")
    keys.add(key_of(b"a", 2))
    assert len(keys) == 4


def test_the_oldest_choices_make_room(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "kept.json"
    for k in range(40):
        keep_choice(file, str(k), Choice(SIDE, 0.5, "fp32"))
    assert list(json.loads(file.read_text())) == [str(k) for k in range(8, 40)]
    assert read_choice(file, "39") == Choice(SIDE, 0.5, "fp32")
    assert [path.name for path in file.parent.iterdir()] == ["kept.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"key": null}',
        b'{"key": {"arrangement": "in a heap", "trunk_share": 0.5, "compute": "fp32"}}',
        b'{"key": {"arrangement": "one graph", "trunk_share": 2, "compute": "fp32"}}',
        b'{"key": {"arrangement": "one graph", "trunk_share": 0.5}}',
        b'{"key": {"arrangement": "one graph", "trunk_share": 0.5, "compute": "fp8"}}',
        b'{"key": {"arrangement": "one graph", "trunk_share": 0.5, "compute": ["fp32"]}}',
        b'{"key": {"arrangement": "one graph", "trunk_share": NaN, "compute": "fp32"}}',
        b'{"key": {"arrangement": ["one graph"], "trunk_share": 0, "compute": "fp32"}}',
    ],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kept.json"
    file.write_bytes(content)
    assert read_choice(file, "key") is None
    keep_choice(file, "key", Choice(WHOLE, 0.5, "fp32"))
    assert read_choice(file, "key") == Choice(WHOLE, 0.5, "fp32")


def test_where_nothing_can_be_written_predictions_go_on(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    (tmp_path / "folder.json").mkdir()
    for kept in (tmp_path / "file" / "kept.json", tmp_path / "folder.json", Path("/proc/x.json")):
        Runtime(bundle, 2, kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "file",
        "folder.json",
        "tiny.edgecil",
    ]


def test_the_command_line_keeps_it_in_the_users_cache(bundle_path: Path, tmp_path: Path) -> None:
    script = "import sys; from edgecil_devices import Classifier; Classifier.load(sys.argv[1], 2)"
    cache = tmp_path / "cache"
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    subprocess.run([sys.executable, "-c", script, bundle_path], env=environment, check=True)
    file = cache / "edgecil" / "arrangements.json"
    assert len(json.loads(file.read_text())) == 1
    before = file.stat()
    subprocess.run([sys.executable, "-c", script, bundle_path], env=environment, check=True)
    assert file.stat()[stat.ST_INO] == before[stat.ST_INO]  # kept, so not written again


def test_a_store_keeps_its_own(tmp_path: Path, bundle_path: Path) -> None:
    assert arrangement_choice.file_for(tmp_path) == tmp_path / "arrangements.json"
    assert arrangement_choice.file_for(bundle_path) == arrangement_choice.user_file()


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert arrangement_choice.user_file() is None


def test_a_block_that_gives_other_features_than_it_declares_is_refused(
    tiny: "TinyNetwork", graphs: "Graphs"
) -> None:
    block = graphs.block(tiny.blocks[0])
    parts = Parts(graphs.trunk(tiny.trunk), (block,), "trunk", ("block-00.onnx",), (5,), "fp32")
    with pytest.raises(BundleError, match=r"block-00\.onnx .* features they should"):
        SideBySide(parts, 1)
