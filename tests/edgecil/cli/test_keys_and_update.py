"""Keys and updates on the command line, as real processes."""

import os
import shlex
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecil.cli import command_called
from edgecil_devices.package import pack, read_package
from edgecil_devices.signing import KeySet, verify
from edgecil_export.keys import signature
from tests.devices.conftest import TinyNetwork
from tests.devices.conftest import tiny as tiny


def edgecil(folder: Path, *arguments: object, **environment: str) -> Any:
    command = [sys.executable, "-m", "edgecil", *map(str, arguments)]
    variables = os.environ | {"COLUMNS": "100"} | environment
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def refused(done: Any, code: int, why: str) -> None:
    assert done.returncode == code, done
    assert done.stderr.startswith("error: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_key_is_made_shown_kept_and_followed_by_another(tmp_path: Path) -> None:
    made = edgecil(tmp_path, "keys", "new", "k", EDGECIL_PASSPHRASE="sesame")
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    text = (tmp_path / "k.pub").read_text().strip()
    assert f"\n{text}\n" in made.stdout
    assert "encrypted with EDGECIL_PASSPHRASE; keep a copy" in made.stdout

    assert edgecil(tmp_path, "keys", "show", "k.pub").stdout == f"{text}\n"
    shown = edgecil(tmp_path, "keys", "show", "k", EDGECIL_PASSPHRASE="sesame")
    assert shown.stdout == f"{text}\n"
    refused(edgecil(tmp_path, "keys", "show", "k"), 2, "put its passphrase into EDGECIL_PASS")
    refused(edgecil(tmp_path, "keys", "new", "k"), 2, "keys are never written over")

    followed = edgecil(tmp_path, "keys", "rotate", "k", "k2", EDGECIL_PASSPHRASE="sesame")
    printed = next(line for line in followed.stdout.splitlines() if "--new-keys" in line)
    _, verb, *words = shlex.split(printed)
    typed = command_called(verb).make_context(verb, words).params
    assert (typed["sign"], typed["new_keys"]) == ([Path("k"), Path("k2")], Path("k2.pub"))
    assert (tmp_path / "k2.pub").read_text().strip() != text
    blank = edgecil(tmp_path, "keys", "rotate", "k2", "my key", EDGECIL_PASSPHRASE="sesame")
    assert "--sign k2 --sign 'my key' --new-keys 'my key.pub'" in blank.stdout
    refused(edgecil(tmp_path, "keys", "rotate", "none", "k3"), 2, "make a key with")
    assert not (tmp_path / "k3").exists()


@pytest.fixture
def releases(tiny: TinyNetwork, tmp_path: Path) -> Path:
    """Two signed releases of the tiny network, the second with another head."""
    assert edgecil(tmp_path, "keys", "new", "k").returncode == 0
    for number in (1, 2):
        tiny.head *= number
        manifest = replace(tiny.manifest(), release=number)
        signed = signature(manifest.to_json(), tmp_path / "k")
        data = pack(manifest, tiny.blobs(), signatures=signed)
        (tmp_path / f"{number}.edgecil").write_bytes(data)
    return tmp_path


def test_an_update_is_made_told_of_and_taken(releases: Path) -> None:
    words = ("update", "2.edgecil", "--since", "1.edgecil", "--out", "u.update")
    made = edgecil(releases, *words, EDGECIL_DATA="sets/")
    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert lines[0].split() == ["head.npy", str(len(head(releases))), "bytes"]
    assert lines[1] == "stays: trunk.onnx, block-00.onnx, block-01.onnx"
    size, whole = ((releases / name).stat().st_size for name in ("u.update", "2.edgecil"))
    assert lines[2].startswith(f"wrote u.update (release 2, {size:,} bytes, ")
    assert lines[2].endswith(f"of the {whole:,} of the whole bundle)")

    told = edgecil(releases, "info", "u.update").stdout
    assert told.startswith("u.update: update of ")
    assert told.count("(the base has it)") == 3

    package = read_package(releases / "u.update")
    keys = KeySet.parse([(releases / "k.pub").read_text().strip()])
    verify(package.manifest_json, package.signatures, keys)

    for command in (
        ("install", "1.edgecil", "--store", "s", "--trust", "k.pub"),
        ("update", "u.update", "--store", "s"),
    ):
        done = edgecil(releases, *command, EDGECIL_DATA="sets/")  # is no matter here
        assert done.returncode == 0, done.stderr
    refused(
        edgecil(releases, "update", "1.edgecil", "--store", "s"),
        3,
        "release 1 is the previous one here",
    )


def test_a_bundle_tells_where_its_weights_come_from_and_cannot_steer_the_terminal(
    tiny: TinyNetwork, tmp_path: Path
) -> None:
    origin = {"source": "lite0\x1b[2J", "licence": "Apache-2.0", "trained_on": "ImageNet"}
    manifest = replace(tiny.manifest(), origin=origin)
    (tmp_path / "x.edgecil").write_bytes(pack(manifest, tiny.blobs()))
    told = edgecil(tmp_path, "info", "x.edgecil").stdout
    says = "source lite0\\x1b[2J, licence Apache-2.0, trained on ImageNet"
    assert f"\nweights started from: {says}\n" in told
    assert "\x1b" not in told
    tiny.save(tmp_path / "y.edgecil")
    assert "started from" not in edgecil(tmp_path, "info", "y.edgecil").stdout


def head(folder: Path) -> bytes:
    package = read_package(folder / "2.edgecil")
    return package.blobs[package.manifest.head.sha256]


def test_mistakes_are_told_in_one_line(releases: Path) -> None:
    (releases / "run").mkdir()
    for arguments, code, why in (
        (("update", "run"), 2, "say what devices have with --since BUNDLE"),
        (("update", "2.edgecil", "--out", "x"), 2, "give --since"),
        (("update", "2.edgecil", "--data-dir", "d"), 2, "give --since"),
        (
            ("update", "2.edgecil", "--since", "1.edgecil", "--data-dir", "d"),
            2,
            "is a finished bundle",
        ),
        (("update", "--since", "1.edgecil"), 2, "name the run"),
        (("update", "run", "--since", "1.edgecil", "--from", "d"), 2, "give one of them"),
        (("update", "1.edgecil", "--since", "2.edgecil"), 1, "release 1 is not above release 2"),
        (("update", "2.edgecil", "--since", "k"), 1, "not an edgecil bundle"),
    ):
        refused(edgecil(releases, *arguments), code, why)
    assert not list(releases.glob("*.update"))


def test_a_folder_that_stands_for_a_file_is_told_what_it_is(releases: Path) -> None:
    (releases / "stick").mkdir()
    (releases / "stick" / "latest").write_text("2")
    (releases / "2.edgecil").rename(releases / "stick" / "release-2.edgecil")
    store = ("--store", "my store")
    assert edgecil(releases, "install", "1.edgecil", *store, "--trust", "k.pub").returncode == 0
    why = "my store is a store; run: edgecil update FILE --store 'my store'"
    refused(edgecil(releases, "update", "my store"), 2, why)
    done = edgecil(releases, "update", "stick", *store)
    refused(done, 2, "stick offers releases; take the newest of them: --from stick")
    words = done.stderr.partition("of them: ")[2].split()
    done = edgecil(releases, "update", *words, *store)
    assert done.stdout.startswith("my store: release 2 is current, ")


def test_what_an_update_may_lose_is_no_option_of_a_bundle(tmp_path: Path) -> None:
    assert "--lose-unknown" in edgecil(tmp_path, "update", "--help").stdout
    assert "--lose-unknown" not in edgecil(tmp_path, "export", "--help").stdout
