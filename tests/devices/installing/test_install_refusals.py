"""`devices/install.sh`: what it refuses, before anything is done, and with which remedy."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.devices.installing.conftest import Device

NOBODY: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)
"""Has subprocess run something as a user with no rights."""
OTHER_MACHINE = 'if [ "$1" = -m ]; then echo {}; else echo Linux; fi'
OLD_PYTHON = 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi'
NO_ENSUREPIP = 'case "$2" in *ensurepip*) exit 1 ;; esac'


def test_a_folder_of_the_users_is_neither_filled_nor_emptied(
    device: "Device", tmp_path: Path
) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = elsewhere\n")
    for option in ([], ["--uninstall"]):
        done = device.install(*option, "--target", tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {tmp_path} ")
    assert [path.name for path in tmp_path.iterdir()] == ["pyvenv.cfg"]


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ({"uname": "echo Darwin"}, "this is Darwin"),
        (
            {"getconf": "echo 32", "uname": OTHER_MACHINE.format("aarch64")},
            "the system has 32 bits, .* flash the 64-bit Raspberry Pi OS",
        ),
        ({"uname": OTHER_MACHINE.format("riscv64")}, "no onnxruntime for riscv64"),
        ({"python3": OLD_PYTHON}, "Python 3.9.2 is too old, .* flash Raspberry Pi OS 12"),
        ({"python3": NO_ENSUREPIP}, "sudo apt install python3-venv"),
        ({"df": "echo; echo / 999999 1 300000 9% /"}, "has 307 MB free, and 350 are .* make room"),
    ],
    ids=["not Linux", "32 bits", "no packages", "old Python", "no venv", "no space"],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    device: "Device", tmp_path: Path, commands: dict[str, str], said: str
) -> None:
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{device.environment['PATH']}"
    done = device.install("--target", tmp_path / "new" / "edgecil", PATH=path)
    assert done.returncode == 1
    assert re.fullmatch(f"error: .*{said}.*\n", done.stderr)
    assert not (tmp_path / "new").exists()


def test_a_device_without_python_is_refused(device: "Device", tmp_path: Path) -> None:
    for name in ("sh", "id", "uname", "getconf", "df", "awk", "dirname", "ls", "sort", "tail"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = device.install("--target", tmp_path / "edgecil", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "error: there is no Python; run: sudo apt install python3-venv\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "/usr/cats"], "error: /usr cannot be written; run it with sudo"),
        (["--service", "cats.edgecil"], "error: only root can install a service; .* sudo"),
    ],
)
def test_who_may_not_is_told_to_become_root(device: "Device", words: list[str], said: str) -> None:
    done = subprocess.run(  # through a pipe, since the tree may lie where nobody else can read
        ["sh", "-s", "--", *words],
        input=device.script.read_text(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        **NOBODY,
    )
    assert done.returncode == 1
    assert re.match(said, done.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--targets"], "--targets is not known; see --help"),
        (["--from"], "--from needs a value"),
        (["--trust", "cats.key.pub"], "--trust goes with --service"),
        (["--no-teach"], "--no-teach goes with --service"),
    ],
)
def test_wrong_options_are_refused(device: "Device", words: list[str], said: str) -> None:
    done = device.install(*words)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_without_a_wheel_nothing_is_taken_from_a_package_index(
    device: "Device", tmp_path: Path
) -> None:
    done = device.install("--target", tmp_path / "edgecil")
    assert done.returncode == 1
    assert done.stderr == (
        "error: no wheel lies beside this script; "
        "build one with pip wheel --no-deps -w dist . or give --from\n"
    )
    assert not (tmp_path / "edgecil").exists()


def test_a_script_that_comes_through_a_pipe_that_breaks_does_nothing(
    device: "Device", tmp_path: Path
) -> None:
    lines = device.script.read_text().splitlines(keepends=True)
    for end in range(0, len(lines), 10):
        subprocess.run(
            ["sh", "-s", "--", "--target", tmp_path / "edgecil"],
            input="".join(lines[:end]),
            text=True,
            env=device.environment,
            capture_output=True,
            check=False,
        )
        assert not (tmp_path / "edgecil").exists()
