"""Bundles and stores that are sound, damaged or not there, tested in real processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.doctor.bundle import _precision, _tested, bundle
from edgecil_devices.package import pack
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.install import install
from tests.devices.doctor.conftest import BOARD, ends_by


@pytest.mark.parametrize(
    ("crash", "says"),
    [
        (ends_by("SIGKILL"), "was ended by SIGKILL; stop other programs"),
        (ends_by("SIGILL"), "an illegal instruction, SIGILL"),
        ("raise MemoryError", "more memory than there is; stop other programs"),
    ],
)
def test_a_bundle_that_ends_its_process_becomes_a_sentence(
    bundle_path: Path, shadow: Any, crash: str, says: str
) -> None:
    shadow("onnxruntime", crash)
    (found,) = bundle(bundle_path, BOARD)
    assert (found.state, found.name) == ("fail", "bundle")
    assert says in found.says


def test_a_path_that_cannot_be_followed_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, why in (("none", "No such file"), ("loop", "Too many levels")):
        (found,) = bundle(tmp_path / name, BOARD)
        assert found.state == "fail"
        assert f"{name}: {why}" in found.says
        assert found.says.endswith("; check the path, and who may read it")


def test_a_folder_that_is_no_store_is_told_how_to_become_one(tmp_path: Path) -> None:
    (found,) = bundle(tmp_path, BOARD)
    assert found.says.endswith(f"is not a store; run: edgecil install BUNDLE --store {tmp_path}")


def test_a_store_that_fell_back_to_its_previous_release_is_warned_of(
    tiny: Any, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for release in (1, 2):
        tiny.head = tiny.head * release
        file = tmp_path / f"{release}.edgecil"
        file.write_bytes(pack(replace(tiny.manifest(), release=release), tiny.blobs()))
        install(file, store, test=lambda *_: None)
    folder = Folder(store)
    current = folder.current()
    assert current is not None
    (folder.blobs / folder.manifest(current).head.sha256).write_bytes(b"damaged")
    found, _ = bundle(store, BOARD)
    assert found.state == "warn"
    assert found.says.endswith("; going on with release 1")


@pytest.mark.parametrize(
    ("pays", "compute", "state", "says"),
    [
        (True, "fp32", "ok", "--compute int8 when exporting"),
        (False, "fp32", "ok", "computes in fp32"),
        (None, "fp32", "ok", "computes in fp32"),
        (True, "int8", "ok", "computes in int8"),
        (False, "int8", "warn", "export with --compute fp32"),
        (None, "int8", "ok", "computes in int8"),
    ],
)
def test_the_precision_is_held_against_the_board(
    tiny: Any, tmp_path: Path, pays: bool | None, compute: str, state: str, says: str
) -> None:
    file = tmp_path / "tiny.edgecil"
    file.write_bytes(pack(replace(tiny.manifest(), compute=compute), tiny.blobs()))
    agreement, precision = bundle(file, replace(BOARD, int8_compute_pays=pays))
    assert (agreement.state, agreement.name) == ("warn", "bundle")  # it has no golden samples
    assert (precision.state, precision.name) == (state, "precision")
    assert says in precision.says


def test_a_board_with_half_precision_says_whether_it_is_used(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for module in ("computation", "runtime", "arrangement_choice"):
        monkeypatch.setattr(
            f"edgecil_devices.{module}.read_cpuinfo", lambda: "Features\t: asimd asimdhp\n"
        )
    found = _tested(bundle_path)
    assert found["compute"] == "fp32"
    finding = _precision(found["compute"], found["note"], replace(BOARD, int8_compute_pays=None))
    says = "computes in fp32; fp16 is not used: the bundle has no golden samples"
    assert (finding.state, finding.says) == ("ok", says)
