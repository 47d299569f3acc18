"""The oldest versions that pyproject.toml admits, for pip: lowest.py [EXTRA...].

Prints `NAME==VERSION` for every dependency of a base installation and of the extras named.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_FLOOR = re.compile(r"([\w.-]+)>=([0-9]+(?:\.[0-9]+)*)")


def lowest(extras: Iterable[str]) -> dict[str, str]:
    """Name: oldest version. Where base and an extra ask for the same, the newer one counts.

    Raises:
        SystemExit: a dependency has no floor of the form NAME>=VERSION.
    """
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    floors: dict[str, str] = {}
    for requirement in asked:
        matched = _FLOOR.fullmatch(requirement)
        if matched is None:
            sys.exit(f"error: {requirement!r} in {PYPROJECT} has no floor; write NAME>=VERSION")
        name, version = matched.groups()
        floors[name] = max(floors.get(name, "0"), version, key=_numbers)
    return floors


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in lowest(sys.argv[1:]).items()), sep="\n")
