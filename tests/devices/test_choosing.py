"""Which computations are tried, and what half precision has to show or else is not used."""

import json
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgecil_devices import choosing, runtime
from edgecil_devices._onnxruntime import Graph
from edgecil_devices.arrangement import Features, Parts, SideBySide
from edgecil_devices.arrangement_choice import Choice, keep_choice, key_of, read_choice
from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import Bundle, complete
from edgecil_devices.computation import WINOGRAD, admitted
from edgecil_devices.errors import BundleError, UsageError
from edgecil_devices.golden import Golden
from edgecil_devices.package import pack, read_package
from edgecil_devices.runtime import Runtime
from tests.devices.conftest import Graphs, TinyNetwork
from tests.devices.run_clock import RunClock

PIXELS = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3), np.uint8)
PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n"
PI_5 = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp "
    "cpuid asimdrdm lrcpc dcpop asimddp\nCPU part\t: 0xd0b\n"
)
X86 = "processor : 0\nflags : fpu avx2 asimdhp\n"


def with_golden(tiny: TinyNetwork, logits: NDArray[np.float64] | None = None) -> Bundle:
    golden = {
        "golden-pixels.npy": ("golden-pixels", Graphs.npy(PIXELS)),
        "golden-logits.npy": (
            "golden-logits",
            Graphs.npy((tiny.logits(PIXELS) if logits is None else logits).astype(np.float32)),
        ),
    }
    blobs = tiny.blobs() | {name: data for name, (_, data) in golden.items()}
    more = tuple(Blob.of(name, role, data) for name, (role, data) in golden.items())
    manifest = tiny.manifest()
    manifest = replace(manifest, blobs=manifest.blobs + more)
    return complete(read_package(pack(manifest, blobs)), {})


def require_right(tiny: TinyNetwork, found: Runtime, tolerance: float) -> None:
    expected = tiny.logits(PIXELS)
    logits = found.run(PIXELS).logits
    np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())


@pytest.fixture
def on_pi_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "read_cpuinfo", lambda: PI_5)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")


def slow(monkeypatch: pytest.MonkeyPatch, is_slow: Callable[[SideBySide], bool]) -> None:
    """A part of the arrangements takes as long as on no board."""
    original = SideBySide.run

    def delayed(self: SideBySide, pixels: NDArray[np.uint8]) -> Features:
        found = original(self, pixels)
        if not is_slow(self):
            return found
        time.sleep(0.02)
        return replace(found, blocks_ms=found.blocks_ms + 300)

    monkeypatch.setattr(SideBySide, "run", delayed)


def in_half(made: SideBySide) -> bool:
    return bool(made.__dict__["compute"] == "fp16")


@pytest.fixture(autouse=True)
def _marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrangements remember in what they compute."""
    original = SideBySide.__init__

    def marking(self: Any, parts: Any, threads: int) -> None:
        original(self, parts, threads)
        self.compute = parts.compute

    monkeypatch.setattr(SideBySide, "__init__", marking)


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "besides"),
    [
        (PI_5 * 4, "aarch64", ["fp16"]),
        (PI_4 * 4, "aarch64", [WINOGRAD]),
        (PI_5 + PI_4, "aarch64", [WINOGRAD]),  # one core of two has no half precision
        (PI_5.replace("asimdhp", "asimdhpx"), "aarch64", []),  # dot products alone
        (PI_5, "x86_64", []),
        (X86, "x86_64", []),
        (X86, "aarch64", []),
        ("", "aarch64", []),
    ],
)
def test_every_core_must_have_what_is_needed(
    cpuinfo: str, machine: str, besides: list[str]
) -> None:
    assert admitted("auto", "fp32", cpuinfo, machine) == ("fp32", *besides)


@pytest.mark.parametrize(
    ("asked", "of_bundle", "cpuinfo", "expected"),
    [
        ("auto", "fp32", PI_5, ("fp32", "fp16")),
        ("auto", "fp32", PI_4, ("fp32", WINOGRAD)),
        ("auto", "int8", PI_5, ("int8",)),
        ("fp32", "fp32", PI_5, ("fp32",)),
        ("fp32", "fp32", PI_4, ("fp32",)),
        ("fp16", "fp32", PI_4, ("fp32", "fp16")),
        ("int8", "int8", PI_4, ("int8",)),
        (None, "fp32", PI_5, ("fp32",)),
        (None, "int8", PI_5, ("int8",)),
    ],
)
def test_what_may_be_tried(
    asked: str | None, of_bundle: str, cpuinfo: str, expected: tuple[str, ...]
) -> None:
    assert admitted(asked, of_bundle, cpuinfo, "aarch64") == expected


@pytest.mark.parametrize(
    ("asked", "of_bundle", "remedy"),
    [
        ("int8", "fp32", "export it with --compute int8"),
        ("fp16", "int8", "export it with --compute fp32"),
        ("fp32", "int8", "export it with --compute fp32"),
    ],
)
def test_what_the_bundle_cannot_do_is_refused(asked: str, of_bundle: str, remedy: str) -> None:
    with pytest.raises(BundleError, match=remedy):
        admitted(asked, of_bundle, PI_5, "aarch64")


def test_a_computation_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="one of auto, fp32, fp16, int8"):
        admitted("fp8", "fp32", PI_5, "aarch64")


@pytest.mark.parametrize("threads", [1, 2])
def test_half_precision_that_is_asked_for_is_used_and_nearly_right(
    tiny: TinyNetwork, threads: int, tmp_path: Path
) -> None:
    file = tmp_path / "kept.json"
    for _ in range(2):  # found out, and kept
        found = Runtime(with_golden(tiny), threads, file, "fp16")
        assert (found.compute, found.note) == ("fp16", "")
        require_right(tiny, found, 5e-3)
    (kept,) = json.loads(file.read_text()).values()
    assert kept["compute"] == "fp16"
    exact = Runtime(with_golden(tiny), threads)
    assert exact.compute == "fp32"
    assert not np.array_equal(exact.run(PIXELS).logits, found.run(PIXELS).logits)


@pytest.mark.usefixtures("on_pi_5")
@pytest.mark.parametrize(("slow_half", "expected"), [(True, "fp32"), (False, "fp16")])
def test_the_faster_computation_is_chosen_and_kept(
    tiny: TinyNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slow_half: bool,
    expected: str,
) -> None:
    file = tmp_path / "kept.json"
    with monkeypatch.context() as patch:
        slow(patch, lambda made: in_half(made) == slow_half)
        found = Runtime(with_golden(tiny), 1, file, "auto")
        assert found.compute == expected
        assert ("not clearly faster" in found.note) == slow_half
    monkeypatch.setattr(choosing, "_found", pytest.fail)
    again = Runtime(with_golden(tiny), 1, file, "auto")
    assert (again.compute, again.note) == (expected, found.note)
    require_right(tiny, again, 5e-3)


@pytest.mark.usefixtures("on_pi_5")
def test_the_bundles_own_computation_is_not_measured_against_anything(
    tiny: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_found", pytest.fail)
    for asked in (None, "fp32"):
        assert Runtime(with_golden(tiny), 1, None, asked).compute == "fp32"


@pytest.fixture
def wrong_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose half precision gives five percent too much."""
    original = SideBySide.run

    def run(self: SideBySide, pixels: NDArray[np.uint8]) -> Features:
        found = original(self, pixels)
        factor = np.float32(1.05 if in_half(self) else 1)
        return replace(found, of_blocks=[factor * features for features in found.of_blocks])

    monkeypatch.setattr(SideBySide, "run", run)


@pytest.mark.usefixtures("on_pi_5", "wrong_half")
@pytest.mark.parametrize("asked", ["auto", "fp16"])
def test_half_precision_that_is_wrong_is_not_used(
    tiny: TinyNetwork, tmp_path: Path, asked: str
) -> None:
    file = tmp_path / "kept.json"
    for _ in range(2):
        found = Runtime(with_golden(tiny), 1, file, asked)
        assert found.compute == "fp32"
        assert "fp16 is not used: the golden samples' logits differ by" in found.note
        require_right(tiny, found, 1e-5)


@pytest.mark.usefixtures("on_pi_5", "wrong_half")
def test_a_kept_choice_of_half_precision_is_proved_at_every_start(
    tiny: TinyNetwork, tmp_path: Path
) -> None:
    file, bundle = tmp_path / "kept.json", with_golden(tiny)
    key = key_of(bundle.manifest_json, 1, "auto")
    keep_choice(file, key, Choice("side by side", 0.5, "fp16"))
    found = Runtime(bundle, 1, file, "auto")
    require_right(tiny, found, 1e-5)
    assert found.compute == "fp32"
    kept = read_choice(file, key)
    assert kept is not None
    assert (kept.compute, kept.note) == ("fp32", found.note)


@pytest.mark.parametrize("foreign", ["fp16", "int8"])
def test_a_choice_that_this_bundle_or_board_does_not_admit_counts_as_none(
    tiny: TinyNetwork, tmp_path: Path, foreign: str
) -> None:
    file, bundle = tmp_path / "kept.json", with_golden(tiny)
    keep_choice(file, key_of(bundle.manifest_json, 2), Choice("one graph", 0.5, foreign))
    found = Runtime(bundle, 2, file)
    assert found.compute == "fp32"
    require_right(tiny, found, 1e-5)


@pytest.mark.usefixtures("on_pi_5")
def test_another_onnxruntime_is_measured_anew(
    tiny: TinyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept.json"
    with monkeypatch.context() as patch:
        slow(patch, lambda made: not in_half(made))
        assert Runtime(with_golden(tiny), 1, file, "auto").compute == "fp16"
    slow(monkeypatch, in_half)
    assert Runtime(with_golden(tiny), 1, file, "auto").compute == "fp16"  # kept
    monkeypatch.setattr("onnxruntime.__version__", "9.9")
    assert Runtime(with_golden(tiny), 1, file, "auto").compute == "fp32"


@pytest.mark.parametrize("asked", ["auto", "fp16"])
@pytest.mark.usefixtures("on_pi_5")
def test_without_golden_samples_nothing_is_proved(tiny: TinyNetwork, asked: str) -> None:
    bundle = complete(read_package(pack(tiny.manifest(), tiny.blobs())), {})
    found = Runtime(bundle, 1, None, asked)
    assert found.compute == "fp32"
    assert found.note == "fp16 is not used: the bundle has no golden samples"


@pytest.mark.usefixtures("on_pi_5")
def test_a_kept_choice_of_what_cannot_be_proved_is_not_followed(
    tiny: TinyNetwork, tmp_path: Path
) -> None:
    bundle, file = complete(read_package(pack(tiny.manifest(), tiny.blobs())), {}), tmp_path / "x"
    key = key_of(bundle.manifest_json, 1, "auto")
    keep_choice(file, key, Choice("side by side", 0.5, "fp16"))
    found = Runtime(bundle, 1, file, "auto")
    assert found.compute == "fp32"
    assert found.note == "fp16 is not used: the bundle has no golden samples"
    require_right(tiny, found, 1e-5)


def test_weights_that_do_not_fit_leave_it_in_single_precision(tiny: TinyNetwork) -> None:
    tiny.blocks[1] = tiny.blocks[1] * 1e6
    found = Runtime(with_golden(tiny), 2, None, "fp16")
    assert found.compute == "fp32"
    assert "too large for half precision" in found.note
    require_right(tiny, found, 1e-5)


def test_a_picture_beyond_the_range_of_half_precision_is_computed_in_single(
    tiny: TinyNetwork,
) -> None:
    """Golden samples are dark; a bright picture gives values above 65504."""
    dark, bright = PIXELS // 64, np.full((1, 8, 8, 3), 255, np.uint8)
    tiny.trunk = np.full((4, 3), 20000.0)
    tiny.blocks = [np.eye(3, 4) * 0.1, -np.eye(3, 4) * 0.2]
    assert dark.max() / 255 * 60000 < 65504 < 60000 * 1.1
    tiny.trunk *= 1.1
    bundle = with_golden(tiny)
    golden = {"golden-pixels.npy": Graphs.npy(dark)}
    golden["golden-logits.npy"] = Graphs.npy(tiny.logits(dark).astype(np.float32))
    blobs = dict(bundle.blobs) | golden
    described = tuple(
        Blob.of(blob.name, blob.role, golden[blob.name]) if blob.name in golden else blob
        for blob in bundle.manifest.blobs
    )
    manifest = replace(bundle.manifest, blobs=described)
    found = Runtime(complete(read_package(pack(manifest, blobs)), {}), 1, None, "fp16")
    assert found.compute == "fp16"
    np.testing.assert_allclose(found.run(bright).logits, tiny.logits(bright), rtol=1e-4)
    assert found.compute == "fp32"
    assert "a picture gave values beyond its range" in found.note
    np.testing.assert_allclose(found.run(dark).logits, tiny.logits(dark), rtol=1e-4)


@pytest.mark.parametrize(
    ("logits", "objection"),
    [
        ([[1.0, 2.0]], ""),
        ([[1.0, 2.019]], ""),
        ([[1.0, 2.022]], "differ by 1.1e-02"),
        ([[1.0, float("nan")]], "not finite"),
    ],
)
def test_what_golden_samples_must_show(logits: list[list[float]], objection: str) -> None:
    golden = Golden(PIXELS[:1], np.array([[1.0, 2.0]], np.float32))
    said = choosing.Proof(
        "fp16", choosing.HALF_TOLERANCE, golden, lambda of_blocks: of_blocks[0]
    ).objection(Saying(logits))
    assert objection in said
    assert bool(objection) == bool(said)


def test_a_golden_sample_keeps_its_class() -> None:
    golden = Golden(PIXELS[:1], np.array([[2.0, 1.999]], np.float32))
    proof = choosing.Proof("fp16", choosing.HALF_TOLERANCE, golden, lambda of_blocks: of_blocks[0])
    assert proof.objection(Saying([[2.0, 2.001]])) == "a golden sample's class is another"


class Saying:
    """An arrangement that says the same of every picture."""

    name = "side by side"

    def __init__(self, features: list[list[float]]) -> None:
        self._features = np.array(features, np.float32)

    def run(self, pixels: NDArray[np.uint8]) -> Features:
        return Features([self._features[: len(pixels)]], 1, 1)


@pytest.mark.usefixtures("on_pi_5")
def test_measuring_takes_well_under_half_a_second(
    tiny: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_golden(tiny)
    clock = RunClock(monkeypatch)

    def seconds() -> float:
        measured, computed = clock.now_s, time.thread_time()
        Runtime(bundle, 2, None, "auto")
        return clock.now_s - measured + time.thread_time() - computed

    assert 0.3 < min(seconds() for _ in range(4)) < 0.5


@pytest.mark.usefixtures("on_pi_5")
def test_one_network_is_in_memory_while_half_precision_is_tried(
    tiny: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: set[int] = set()
    at_once: list[int] = []
    original = Graph.__init__

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        alive.add(id(self))
        weakref.finalize(self, alive.discard, id(self))
        at_once.append(len(alive))

    monkeypatch.setattr(Graph, "__init__", counted)
    Runtime(with_golden(tiny), 1, None, "auto")
    # Trunk and one group of blocks: in single precision, in half, and perhaps in single again.
    assert at_once[:4] == [1, 2, 1, 2]


def winograd_parts() -> Parts:
    """A trunk of 16 channels and two blocks with a 3x3 convolution each."""
    rng = np.random.default_rng(5)
    blocks = []
    for _ in range(2):
        model = onnx.load_from_string(Graphs.block(rng.normal(size=(16, 16))))
        kernel = (rng.normal(size=(16, 16, 3, 3)) / 12).astype(np.float32)
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(kernel, "weight"))
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("pads", [1] * 4))
        blocks.append(model.SerializeToString())
    trunk = Graphs.trunk(rng.normal(size=(16, 3)))
    return Parts(trunk, tuple(blocks), "trunk", ("0", "1"), (16, 16), "fp32")


def winograd_proof(parts: Parts, *, tolerance: float = 1e-3) -> choosing.Proof:
    expected = np.concatenate(SideBySide(parts, 1).run(PIXELS).of_blocks, axis=1)
    golden = Golden(PIXELS, expected)
    return choosing.Proof(
        WINOGRAD, tolerance, golden, lambda of_blocks: np.concatenate(of_blocks, axis=1)
    )


@pytest.mark.parametrize(("is_slow", "expected"), [(True, "fp32"), (False, WINOGRAD)])
def test_winograd_is_chosen_where_it_is_faster_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool, expected: str
) -> None:
    parts, file = winograd_parts(), tmp_path / "kept.json"
    proof = winograd_proof(parts)
    right = SideBySide(parts, 1).run(PIXELS).of_blocks
    with monkeypatch.context() as patch:
        slow(patch, lambda made: made.__dict__["compute"] == (WINOGRAD if is_slow else "fp32"))
        found = choosing.choose(parts, 1, 8, file, "key", proof)
        assert found.compute == expected
    monkeypatch.setattr(choosing, "_found", pytest.fail)
    again = choosing.choose(parts, 1, 8, file, "key", proof)
    assert again.compute == expected
    for one, features in zip(again.arrangement.run(PIXELS).of_blocks, right, strict=True):
        np.testing.assert_allclose(one, features, atol=1e-6 * np.abs(features).max())


def test_winograd_is_not_tried_where_it_takes_too_much_memory_or_changes_nothing(
    tiny: TinyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = winograd_parts()
    proof = winograd_proof(parts)
    monkeypatch.setattr(choosing, "_otherwise", pytest.fail)
    monkeypatch.setattr(choosing, "_typical_ms", pytest.fail)
    monkeypatch.setattr(choosing, "_MOST_KERNEL_BYTES", 0)
    monkeypatch.setattr(choosing, "available_bytes", lambda: 100 * 2 * 4 * 9 * 16 * 16 - 100)
    found = choosing.choose(parts, 1, 8, None, "key", proof)
    assert (found.compute, found.note) == (
        "fp32",
        "fp32 by Winograd is not used: its weights would take too much memory",
    )
    with monkeypatch.context() as patch:
        patch.setattr(choosing, "_MOST_KERNEL_BYTES", 2 * 4 * 9 * 16 * 16)
        assert not proof.hindrance(parts)
    monkeypatch.setattr(choosing, "available_bytes", lambda: 100 * 2 * 4 * 9 * 16 * 16)
    assert not proof.hindrance(parts)
    plain = replace(
        parts,
        trunk=Graphs.trunk(tiny.trunk),
        blocks=tuple(map(Graphs.block, tiny.blocks)),
        features=(3, 3),
    )
    file = tmp_path / "kept.json"
    found = choosing.choose(plain, 1, 8, file, "key", proof)
    assert "no 3x3 convolutions" in found.note
    monkeypatch.setattr(choosing, "kernel_bytes", pytest.fail)  # not looked for at every start
    assert choosing.choose(plain, 1, 8, file, "key", proof).note == found.note


@pytest.mark.parametrize("threads", [1, 2])
def test_a_board_without_dot_products_starts_by_winograd_or_says_why_not(
    tiny: TinyNetwork, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(runtime, "read_cpuinfo", lambda: PI_4)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = Runtime(with_golden(tiny), threads, None, "auto")
    assert found.compute == "fp32"
    assert found.note.startswith("fp32 by Winograd is not used: it has no 3x3")
    require_right(tiny, found, 1e-5)
