"""Emulated Raspberry Pis, and bundles to run on them."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEVICES = HERE.parents[1] / "devices"
# Taken before the tests get a cache folder of their own: what is fetched is kept between runs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecil-arm64"


@dataclass(frozen=True)
class Pi:
    """Runs Python on an emulated board, with the packages of its onnxruntime before the others."""

    base: str
    """What pip installed: the same versions as here."""
    extra: tuple[Path, ...] = ()
    """Folders of packages that take precedence."""

    def environment(self) -> Mapping[str, str]:
        paths = os.pathsep.join(map(str, (*self.extra, DEVICES)))
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        return kept | {"PYTHONPATH": paths, **_settings(self.base)}

    def start(self, board: str, *arguments: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", HERE / "pi.sh", "run", board, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def run(self, board: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        process = self.start(board, *arguments)
        try:
            out, err = process.communicate(timeout=1200)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def with_onnxruntime(self, number: str) -> "Pi":
        """The same with another onnxruntime."""
        return Pi(self.base, (fetched(f"--no-deps onnxruntime=={number}"),))


def _settings(requirements: str) -> dict[str, str]:
    return {"PI_CACHE": str(CACHE), "PI_PYTHON": sys.executable, "PI_REQ": requirements}


def fetched(requirements: str) -> Path:
    """The folder of aarch64 packages; skips where they cannot be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the emulator is made for x86-64 Linux")
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm":
        pytest.skip("the Raspberry Pi's Python comes from Debian 12's own packages")

    def ask(verb: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", str(HERE / "pi.sh"), verb]
        environment = os.environ | _settings(requirements)
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    done = ask("setup")
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        pytest.skip(f"the emulator or its packages could not be fetched: {reason}")
    return Path(ask("site").stdout.strip())


@pytest.fixture(scope="session")
def pi() -> Pi:
    names = ("numpy", "pillow", "onnxruntime", "cryptography")
    requirements = " ".join(f"{name}=={version(name)}" for name in names)
    fetched(requirements)
    return Pi(requirements)
