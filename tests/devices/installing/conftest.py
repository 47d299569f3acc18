"""A device to install edgecil on, without a network.

So that nothing has to be downloaded, what edgecil needs is there as if the system had it, where an
environment that sees the system's packages finds it.
"""

import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "devices" / "install.sh"


class Device:
    """Where `devices/install.sh` is run.

    Args:
        packages: the folder of the system's packages.
        home: the user's folder.
    """

    def __init__(self, packages: Path, home: Path) -> None:
        self.script = SCRIPT
        # The Python beneath the environment of these tests: a device has none active.
        self.python = Path(sys._base_executable).parent  # type: ignore[attr-defined]
        self.environment = {
            "PATH": f"{self.python}:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": str(packages),
            "PIP_NO_INDEX": "1",
        }

    def started(self, *words: object) -> "subprocess.Popen[bytes]":
        """Start the script in a process group of its own."""
        return subprocess.Popen(
            ["sh", str(self.script), *map(str, words)],
            env=self.environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def install(self, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script."""
        return subprocess.run(
            ["sh", str(self.script), *map(str, words)],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, target: Path, *words: object) -> str:
        """What the command `edgecil` that was installed prints."""
        done = subprocess.run(
            [target / "bin" / "edgecil", *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    packages = tmp_path_factory.mktemp("packages")
    for name in required_by("cryptography", required_by("edgecil", set())) - {"edgecil"}:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(found.locate_file(top)))
    return Device(packages, tmp_path_factory.mktemp("home"))


def required_by(name: str, seen: set[str]) -> set[str]:
    """A package and what it requires in turn, as far as this system needs and has it."""
    with suppress(PackageNotFoundError):
        lines = distribution(name).requires or ()
        seen.add(name)
        for line in lines:
            package = re.split(r"[^\w.-]", line)[0]
            if "extra ==" not in line and package not in seen:
                required_by(package, seen)
    return seen
