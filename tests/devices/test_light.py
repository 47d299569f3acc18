"""The device side runs where only numpy, onnxruntime and Pillow are installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.__main__ import VERBS

WITHOUT_HEAVY_PACKAGES = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "onnxscript", "safetensors"}:
            raise ImportError(f"{name} must not be needed here")

sys.meta_path.insert(0, Blocked())
"""


def run(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY_PACKAGES + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=environment or None,
    )


def test_a_bundle_runs_without_torch_and_without_onnx(bundle_path: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(tmp_path / "picture.png")
    code = """
import edgecil_devices
print(edgecil_devices.Classifier.load(sys.argv[1]).predict(sys.argv[2]).label)
"""
    label = run(code, bundle_path, tmp_path / "picture.png").stdout.strip()
    assert label in {"ape", "bee", "cat"}


def test_importing_the_package_imports_nothing_large() -> None:
    code = "import edgecil_devices; print(*sys.modules)"
    assert not {"numpy", "onnxruntime", "PIL"} & set(run(code).stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_waits_for_no_package(verb: str) -> None:
    code = """
from edgecil_devices.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0
print(*sys.modules)
"""
    loaded = set(run(code, verb, "--help").stdout.splitlines()[-1].split())
    assert not {"numpy", "PIL", "onnxruntime", "cryptography", "typer", "edgecil"} & loaded


def test_nothing_but_the_measured_arrangement_is_written_at_home(
    bundle_path: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = """
import edgecil_devices
edgecil_devices.Classifier.load(sys.argv[1], threads=int(sys.argv[2]))
"""
    for threads, files in (("1", []), ("2", ["edgecil/arrangements.json"])):
        run(code, bundle_path, threads, HOME=str(home), XDG_CACHE_HOME=str(home))
        found = [path for path in home.rglob("*") if path.is_file()]
        assert [str(path.relative_to(home)) for path in found] == files
