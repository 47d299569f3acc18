"""`devices/install.sh --service` where there is a store already: what becomes of it, step by step.

Its function is run with a folder of its own for the store, and with commands that only tell of
what they were asked for.
"""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.devices.installing.conftest import Device

COMMANDS = ("id", "install", "chown", "runuser", "systemctl")


class Ended(NamedTuple):
    """What `install_service` came to."""

    code: int
    said: str
    asked: list[str]
    """The commands it gave."""


def install_service(device: "Device", store: Path, folder: Path, refused_with: int = 0) -> Ended:
    calls = folder / "calls"
    for name in COMMANDS:
        code = refused_with if name == "runuser" else 0
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{calls}\nexit {code}\n')
        (folder / name).chmod(0o755)
    script, _, _ = device.script.read_text().rpartition('main "$@"')
    settings = f"STORE={store} target=/opt/edgecil bundle=cats.edgecil trust=key no_teach=yes"
    done = subprocess.run(
        ["sh", "-c", f"{script}\n{settings}\ninstall_service"],
        env=device.environment | {"PATH": f"{folder}:{device.environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stderr, calls.read_text().splitlines())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("state.json", "current"):
        (folder / name).touch()
    return folder


def release_asked(ended: Ended) -> str:
    (asked,) = (line for line in ended.asked if line.startswith("runuser "))
    return asked


def test_a_new_store_gets_key_and_rule(device: "Device", tmp_path: Path) -> None:
    ended = install_service(device, tmp_path / "new", tmp_path)
    assert (ended.code, ended.said) == (0, "")
    assert " --trust " in release_asked(ended)
    assert release_asked(ended).endswith(" --no-teach")


def test_all_of_a_store_that_root_has_made_goes_to_the_services_user(
    device: "Device", store: Path, tmp_path: Path
) -> None:
    asked = install_service(device, store, tmp_path).asked
    given = f"chown -hR edgecil:edgecil {store}/"  # links in it lead nowhere
    assert asked.index(given) < asked.index(next(one for one in asked if "runuser" in one))


@pytest.mark.parametrize("lost", ["state.json", "current", None])
def test_a_store_keeps_the_key_and_the_rule_that_it_has(
    device: "Device", store: Path, tmp_path: Path, lost: str | None
) -> None:
    if lost:
        (store / lost).unlink()
    ended = install_service(device, store, tmp_path)
    assert ended.code == 0
    assert not {"--trust", "--no-teach"} & set(release_asked(ended).split())
    assert "--trust and --no-teach change nothing there" in ended.said


@pytest.mark.parametrize(
    ("code", "goes_on"),
    [(3, True), (1, False), (74, False), (75, False)],
    ids=["old", "not signed", "disk full", "being changed"],
)
def test_only_an_old_release_is_no_failure(
    device: "Device", store: Path, tmp_path: Path, code: int, goes_on: bool
) -> None:
    ended = install_service(device, store, tmp_path, refused_with=code)
    assert ended.code == (0 if goes_on else code)
    assert ("the store goes on with what it has, see above" in ended.said) == goes_on
    assert any(line.startswith("systemctl enable") for line in ended.asked) == goes_on
