"""The oldest versions that are admitted are said once."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgecil_devices.floors import OLDEST_ONNXRUNTIME, release_numbers

ROOT = Path(__file__).parents[1]
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_pip_and_the_code_admit_the_same_onnxruntime() -> None:
    assert f"onnxruntime>={OLDEST_ONNXRUNTIME}" in DEPENDENCIES
    # 1.24.4 is the first of those measured that refused every foreign file.
    assert release_numbers(OLDEST_ONNXRUNTIME) >= (1, 24, 4)


def lowest(*extras: str) -> list[str]:
    words = [sys.executable, str(ROOT / ".ci" / "lowest.py"), *extras]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def test_the_oldest_versions_are_taken_from_pyproject() -> None:
    asked = [requirement.replace(">=", "==") for requirement in DEPENDENCIES]
    assert lowest() == asked


def test_of_two_floors_the_newer_one_counts() -> None:
    """Pillow is asked for twice: 10.1 is newer than 9.4, though not as text."""
    pillows = [one for one in lowest("train") if one.startswith("pillow==")]
    assert lowest()[2].startswith("pillow==9.")
    assert pillows == ["pillow==10.1"]


EXTRAS = ["train", "pretrained", "sign", "report", "tensorboard", "camera", "heic", "ray", "docs"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_dependency_of_an_extra_has_a_floor(extra: str) -> None:
    assert set(lowest()) - {"pillow==9.4"} < set(lowest(extra))


def test_no_other_place_says_it() -> None:
    said = [
        path.name
        for room in ("edgecil", "export", "devices", ".ci")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix in {".py", ".sh", ".toml", ""}
        if OLDEST_ONNXRUNTIME in path.read_text("utf-8")
    ]
    assert said == ["floors.py"]
