"""The verbs of the store on both command lines, with the self-test in a process of its own."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.blobs import GOLDEN_LOGITS, GOLDEN_PIXELS, Blob
from edgecil_devices.package import pack
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.install import install
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.update import update
from tests.devices.conftest import Graphs
from tests.devices.store.releases import Key, Releases, labels, passes
from tests.devices.store.shelf import Shelf

LINES = {"edgecil": ["-m", "edgecil"], "edgecil_devices": ["-m", "edgecil_devices"]}


def run(line: str, *words: object, code: int = 0, **options: Any) -> tuple[str, str]:
    command = [sys.executable, *LINES[line], *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("line", LINES)
def test_a_device_is_installed_updated_rolled_back_and_looked_at(
    releases: Releases, store: Path, tmp_path: Path, line: str
) -> None:
    key = Key(1)
    at = ("--store", store)
    trust = ("--trust", key.save(tmp_path / "key.pub"))
    said, _ = run(line, "install", releases.bundle(1, key), *at, *trust)
    assert said.startswith(f"{store}: release 1 is current, ")
    said, _ = run(line, "update", releases.update(2, 1, key), *at)
    assert said.startswith(f"{store}: release 2 is current, ")
    _, told = run(line, "update", releases.bundle(3), *at, code=1)
    assert "release-3.edgecil: it is signed by nobody" in told
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    said, _ = run(line, "predict", store, tmp_path / "a.png", "--json")
    assert json.loads(said)["label"] in labels(2)
    status = json.loads(run(line, "status", *at, "--json")[0])
    assert (status["release"], status["previous"], status["floor"]) == (2, 1, 2)
    _, told = run(line, "update", releases.bundle(1, key), *at, code=3)
    assert told.startswith("error: release 1 is the previous one here; to return to it: edgecil ")
    _, *back = shlex.split(told.partition("to return to it: ")[2])
    said, _ = run(line, *back)
    assert said == f"{store}: release 1 is current, nothing new\n"
    said, _ = run(line, "status", *at)
    assert said.splitlines()[1].endswith("previous: release 2; newest ever: release 2")
    assert run(line, "fsck", *at)[0] == f"{store}: sound\n"
    (store / "blobs" / releases.made(1).manifest.head.sha256).write_bytes(b"")
    said, told = run(line, "fsck", *at, code=1)
    assert "is damaged" in said
    assert (
        f"to repair: edgecil install BUNDLE --store {store}, with the whole bundle of release 1\n"
        in told
    )


@pytest.mark.parametrize("line", LINES)
def test_a_new_store_is_made_one_that_cannot_be_taught(
    releases: Releases, store: Path, line: str
) -> None:
    helped, _ = run(line, "install", "--help", env=os.environ | {"COLUMNS": "200"})
    assert "Nothing can be taught in this new store; with --trust it answers only" in helped
    run(line, "install", releases.bundle(1), "--store", store, "--no-teach")
    _, told = run(line, "teach", store, "a.jpg", "--label", "mug", code=2)
    assert told.startswith(f"error: {store} was made with --no-teach, ")
    assert told.count("\n") == 1
    run(line, "install", releases.bundle(2), "--store", store)
    assert json.loads(run(line, "status", "--store", store, "--json")[0])["teaching"] is False


def test_a_device_updates_itself_from_a_server(
    releases: Releases, store: Path, shelf: Shelf
) -> None:
    install(releases.bundle(1), store, test=passes)
    shelf.files = {"latest": b"2", "release-2.edgecil": releases.bundle(2).read_bytes()}
    at = ("--store", store, "--from", shelf.address)
    said, _ = run("edgecil_devices", "update", *at)
    assert said.startswith(f"{store}: release 2 is current")
    said, told = run("edgecil_devices", "update", *at)
    assert (said, told) == ("", f"{shelf.address}: release 2 is the newest, and current\n")
    assert "takes either a file or --from" in run("edgecil_devices", "update", code=2)[1]


def test_two_that_meet_are_told_apart_by_the_exit_code(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with Folder(store).locked():
        _, told = run("edgecil_devices", "rollback", "--store", store, code=75)
    assert told.startswith(f"error: {store} is being changed by process {os.getpid()};")


def with_golden_logits(releases: Releases, number: int, off_by: float) -> Path:
    """A bundle whose golden samples expect other logits than the network gives."""
    made = releases.made(number)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, 8, 8, 3), np.uint8)
    tiny = releases.tiny
    weights = np.random.default_rng(number)
    tiny.blocks[1] = weights.normal(size=tiny.blocks[1].shape)
    tiny.head = weights.normal(size=tiny.head.shape)
    logits = (tiny.logits(pixels) + off_by).astype(np.float32)
    samples = {"golden-pixels.npy": Graphs.npy(pixels), "golden-logits.npy": Graphs.npy(logits)}
    roles = (GOLDEN_PIXELS, GOLDEN_LOGITS)
    listed = [
        Blob.of(name, role, data) for (name, data), role in zip(samples.items(), roles, strict=True)
    ]
    manifest = replace(made.manifest, blobs=(*made.manifest.blobs, *listed))
    path = releases.folder / "golden.edgecil"
    path.write_bytes(pack(manifest, made.blobs | samples))
    return path


def test_golden_samples_decide_whether_a_release_is_taken(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    _, told = run(
        "edgecil_devices", "update", with_golden_logits(releases, 2, 1.0), "--store", store, code=1
    )
    assert told.startswith("error: release 2 failed its self-test: the golden samples' logits")
    assert StoreState.read(store / "state.json").floor == 1
    update(with_golden_logits(releases, 2, 0.0), store)
    assert StoreState.read(store / "state.json").floor == 2


def test_a_release_whose_graph_cannot_be_run_is_not_taken(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    releases.tiny.overrides["block-01.onnx"] = b"no graph"
    _, told = run("edgecil_devices", "update", releases.bundle(2), "--store", store, code=1)
    assert told.startswith("error: release 2 failed its self-test: ")
    assert "block-01.onnx" in told
    assert StoreState.read(store / "state.json").floor == 1


def test_a_crash_in_the_self_test_is_finished_by_the_next_update(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    path = releases.update(2, 1)

    class PowerCutError(BaseException):
        pass

    def cut(store: Path, release: Any) -> str | None:
        state = (store / "state.json").read_bytes()
        trial_state.append(state)
        raise PowerCutError

    trial_state: list[bytes] = []
    with pytest.raises(PowerCutError):
        update(path, store, test=cut)
    install(releases.bundle(1), store, test=passes)
    update(path, store, test=passes)
    # As the power cut left it: on trial, with its blobs there.
    (store / "state.json").write_bytes(trial_state[0])
    said, told = run("edgecil_devices", "rollback", "--store", store)
    assert told == "finished release 2, which had been cut short\n"
    assert said == f"{store}: release 1 is current, nothing new\n"
