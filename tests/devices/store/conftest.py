"""Fixtures for the tests of the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devices.store.releases import Releases
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
