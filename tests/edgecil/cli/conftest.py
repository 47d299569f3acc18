"""Fixtures of the command line."""

from pathlib import Path

import pytest

from tests.edgecil.cli.desk import Desk


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """An empty desk."""
    return Desk(tmp_path, monkeypatch, capsys)


@pytest.fixture
def trained(desk: Desk) -> Desk:
    """A desk with `run`, which has learned the four classes of `old`, and `new` with two more."""
    desk.photos("old", "ant", "bee", "cat", "dog")
    desk.photos("new", "eel", "fox")
    desk.train()
    return desk
