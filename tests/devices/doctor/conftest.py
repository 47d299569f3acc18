"""A made-up device, and modules that come before the installed ones."""

from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.profiles import Profile

BOARD = Profile("board", (), threads=4, memory_limit_mb=400)


def write(root: Path, **files: str) -> Path:
    """Files of a made-up device, "/" in their names written "__"."""
    for name, content in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def video(root: Path, node: str, name: str, bus: str, index: int = 0) -> Path:
    """A node as the kernel shows it: a link from its class to its place among the devices."""
    place = f"sys/devices/{bus}/video4linux/{node}"
    (root / "sys/class/video4linux").mkdir(parents=True, exist_ok=True)
    (root / "sys/class/video4linux" / node).symlink_to(root / place)
    write(root / place, name=f"{name}\n", index=f"{index}\n")
    return write(root / "dev", **{node: ""}) / node


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has child processes find another module of that name, with this source."""

    def put(name: str, source: str) -> None:
        write(tmp_path / "shadows", **{f"{name}.py": source})
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadows"))

    return put


def ends_by(signal: str) -> str:
    return f"import os, signal\nos.kill(os.getpid(), signal.{signal})\n"
