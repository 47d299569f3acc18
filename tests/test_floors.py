"""The oldest versions that are admitted are said once."""

import tomllib
from pathlib import Path

from edgecil_devices.floors import OLDEST_ONNXRUNTIME, release_numbers

ROOT = Path(__file__).parents[1]
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_pip_and_the_code_admit_the_same_onnxruntime() -> None:
    assert f"onnxruntime>={OLDEST_ONNXRUNTIME}" in DEPENDENCIES
    # 1.24.4 is the first of those measured that refused every foreign file.
    assert release_numbers(OLDEST_ONNXRUNTIME) >= (1, 24, 4)


def test_no_other_place_says_it() -> None:
    said = [
        path.name
        for room in ("edgecil", "export", "devices", ".ci")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix in {".py", ".sh", ".toml", ""}
        if OLDEST_ONNXRUNTIME in path.read_text("utf-8")
    ]
    assert said == ["floors.py"]
