"""The version, where edgecil is installed and where its folder was only copied to the device."""

import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgecil_devices
from tests.devices.serving.conftest import Served

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

COPIED = [sys.executable, "-S", "-m", "edgecil_devices"]
"""Without the folder of installed packages; `copied` gives their code back, but not their facts."""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in ("numpy", "onnxruntime"):  # an environment may see the system's numpy
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for entry in Path(spec.origin).parents[1].iterdir():
            linked = packages / entry.name
            if not entry.name.endswith(".dist-info") and not linked.exists():
                linked.symlink_to(entry)
    assert edgecil_devices.__file__ is not None
    room = Path(edgecil_devices.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (packages, room))))


@pytest.mark.usefixtures("copied")
def test_a_copy_does_not_know_its_version() -> None:
    done = subprocess.run([*COPIED, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "edgecil of unknown version\n"


@pytest.mark.usefixtures("copied")
def test_a_copy_serves_what_it_knows(bundle_path: Path, tiny: "TinyNetwork") -> None:
    words = [*COPIED, "serve", str(bundle_path), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            reply = Served(process).get("/info")
        finally:
            process.kill()
    assert reply.code == 200
    assert reply.json["edgecil"] is None
    assert reply.json["classes"] == list(tiny.classes)


def test_what_is_installed_tells_its_version() -> None:
    words = [sys.executable, "-m", "edgecil_devices", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"edgecil {metadata.version('edgecil')}\n"
