"""What a service may meet at its next start that is no wrong setting: it goes on or tries again."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecil_devices.__main__ import main
from edgecil_devices.errors import UsageError
from edgecil_devices.serving import verb
from edgecil_devices.serving.verb import ServeRequest, serve
from edgecil_devices.store.install import install
from tests.devices.store.releases import Releases, passes

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def store(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    """Of a release in fp32, without thresholds."""
    install(Releases(tiny, tmp_path / "releases").bundle(1), tmp_path / "store", test=passes)
    return tmp_path / "store"


def test_a_release_without_thresholds_is_served_with_a_warning(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_serve", lambda *_: asyncio.sleep(0))
    assert serve(ServeRequest(store, unknown=95)) == 0
    assert capsys.readouterr().err == (
        "warning: the release that is current now has no thresholds, so nothing is called unknown\n"
    )


def test_a_bundle_without_thresholds_is_a_wrong_setting(
    tiny: "TinyNetwork", tmp_path: Path
) -> None:
    """No newer release can put that right."""
    with pytest.raises(UsageError, match="--teachable"):
        serve(ServeRequest(tiny.save(tmp_path / "tiny.edgecil"), unknown=95))


def test_a_release_of_another_computation_is_served_with_a_warning(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_serve", lambda *_: asyncio.sleep(0))
    assert main(["serve", str(store), "--compute", "int8"]) == 0
    assert capsys.readouterr().err == (
        "warning: the release computes in fp32; going on with that instead of int8\n"
    )
    assert main(["serve", str(store), "--compute", "int9"]) == 2


def test_a_bundle_of_another_computation_is_refused(
    tiny: "TinyNetwork", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny.save(tmp_path / "tiny.edgecil")
    assert main(["serve", str(bundle), "--compute", "int8"]) == 1
    assert "the bundle computes in fp32, not in int8" in capsys.readouterr().err


def test_a_token_that_cannot_be_written_is_tried_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "not-mounted-yet" / "token"
    words = ["serve", str(store), "--port", "0", "--teach", "--token-file", str(file)]
    assert main(words) not in (0, 2)
    assert capsys.readouterr().err.startswith(f"error: {file} cannot be written (")
