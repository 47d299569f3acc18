"""What scripts that run Python on an emulated board tell `tests/arm64/pi.sh`."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PI = HERE.parent / "tests" / "arm64" / "pi.sh"
NEEDED = ("numpy", "onnxruntime", "pillow")
"""By the runtime."""


def requirements(names: Sequence[str] = NEEDED) -> str:
    """Packages in the versions that are installed here, as pip takes them."""
    return " ".join(f"{name}=={version(name)}" for name in names)


def environment(packages: str) -> dict[str, str]:
    """Of a process that runs `pi.sh` with these packages, the runtime and what lies here."""
    paths = os.pathsep.join(map(str, (HERE, HERE.parent / "devices")))
    settings = {"PI_REQ": packages, "PI_PYTHON": sys.executable, "PYTHONPATH": paths}
    return os.environ | settings
