"""Fixtures for the tests of the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.store import fetching
from edgecil_devices.store.install import install
from tests.devices.store.releases import Releases, passes
from tests.devices.store.shelf import Shelf, serving


@pytest.fixture
def releases(tiny: Any, tmp_path: Path) -> Releases:
    return Releases(tiny, tmp_path / "releases")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as shelf:
        yield shelf


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted and not waited for."""
    pauses: list[float] = []
    monkeypatch.setattr(fetching, "sleep", pauses.append)
    return pauses


@pytest.fixture
def offered(releases: Releases, shelf: Shelf, store: Path) -> Shelf:
    """A store with release 1, and a server that offers release 2."""
    install(releases.bundle(1), store, test=passes)
    for path in (releases.bundle(2), releases.update(2, 1)):
        shelf.files[path.name] = path.read_bytes()
    shelf.files["latest"] = b"2\n"
    return shelf
