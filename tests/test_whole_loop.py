"""The whole way round, by the commands and the page alone: a device meets a thing that it does not
know, keeps pictures of it, is taught, and gets a proper block for it by a signed update.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil.data import ImageDataset, load_dataset

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

KNOWN, NEW = ("digit-1", "digit-2", "upper-A"), "symbol-hash"
EDGECIL = [sys.executable, "-m", "edgecil"]
DEVICE = [sys.executable, "-m", "edgecil_devices"]
PATIENCE_S = 300
NETWORK = ("--budget", "400kB", "--method", "thrift", "--backbone", "convnet2")
SHORT = ("--epochs", "40", "--image-size", "16")


def run(command: list[str], *words: object) -> str:
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def save(glyphs: ImageDataset, name: str, folder: Path, test: bool, most: int = 100) -> Path:
    """Pictures of a class as files."""
    split = glyphs.test if test else glyphs.train
    folder.mkdir(parents=True)
    rows = np.flatnonzero(split.labels == glyphs.classes.index(name))[:most]
    for number, pixels in enumerate(split.pixels(rows)):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


@contextmanager
def page(store: Path, collected: Path) -> Iterator[Any]:
    """The teaching page in a browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    words = [*DEVICE, "serve", store, "--port", "0", "--teach", "--collect", collected]
    server = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True)
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with server, playwright.sync_playwright() as started:
        watchdog = threading.Timer(PATIENCE_S, server.kill)
        watchdog.start()
        try:
            assert server.stderr
            found = re.search(r" at (http://\S+/) ", server.stderr.readline())
            assert found
            browser = started.chromium.launch(
                executable_path=chromium, args=options, timeout=PATIENCE_S * 1e3
            )
            opened = browser.new_page()
            opened.set_default_timeout(PATIENCE_S * 1e3)
            opened.goto(found[1])
            yield opened
            browser.close()
        finally:
            watchdog.cancel()
            server.kill()


def test_from_the_unknown_thing_to_its_block_in_a_signed_release(tmp_path: Path) -> None:
    glyphs = load_dataset("glyphs")
    photos, state = tmp_path / "photos", tmp_path / "run"
    for name in KNOWN:
        save(glyphs, name, photos / name, test=False)
    met = save(glyphs, NEW, tmp_path / "met", test=False, most=20)
    seen = save(glyphs, NEW, tmp_path / "seen", test=True)
    store, unsure = tmp_path / "store", tmp_path / "unsure"
    first, second = tmp_path / "first.edgecil", tmp_path / "second.update"

    # At the workstation: a signed bundle, and what a device needs to be taught.
    run(EDGECIL, "train", "--data", photos, "--run", state, "--device", "cpu", *NETWORK, *SHORT)
    run(EDGECIL, "keys", "new", tmp_path / "key")
    run(EDGECIL, "export", state, "--out", first, "--sign", tmp_path / "key", "--teachable")

    # On the device: it is unsure of a new thing, and keeps its pictures.
    run(DEVICE, "install", first, "--store", store, "--trust", tmp_path / "key.pub")
    run(DEVICE, "predict", store, met, "--collect", unsure, "--collect-below", "1")
    waiting = len(list(unsure.iterdir()))
    assert waiting >= 5

    # A person gives them their name, and takes what was taught home.
    with page(store, unsure) as opened:
        opened.wait_for_selector(f"#grid button:nth-child({waiting})")
        opened.click("#choose-all")
        opened.fill("#collected-label", NEW)
        opened.click("#label-them")
        opened.wait_for_selector("#taught li")
        with opened.expect_download() as download:
            opened.click("#export")
        download.value.save_as(tmp_path / "taught.zip")
    taught = answers(store, seen)
    assert right(taught) >= 0.35  # by chance a quarter
    assert all("taught" in one["top"][0] for one in taught if one["label"] == NEW)
    assert len(list((unsure / "labelled" / NEW).iterdir())) == waiting

    # At the workstation: a block of its own for it, in an update that is signed.
    run(EDGECIL, "learn", state, "--data", tmp_path / "taught.zip")
    signed = ("--sign", tmp_path / "key", "--out", second)
    run(EDGECIL, "update", state, "--since", first, *signed)

    # On the device: the release knows it, and what was taught steps back; a rollback undoes that.
    run(DEVICE, "update", second, "--store", store)
    learned = answers(store, seen)
    assert right(learned) >= 0.35
    assert not any("taught" in one for answer in learned for one in answer["top"])
    assert kinds(store) == {NEW: "retired"}
    run(DEVICE, "rollback", "--store", store)
    assert kinds(store) == {NEW: "new"}
    assert [one["top"] for one in answers(store, seen)] == [one["top"] for one in taught]


def answers(store: Path, seen: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(DEVICE, "predict", store, seen, "--json").splitlines()]


def right(found: list[dict[str, Any]]) -> float:
    """The part of the answers that name the new thing."""
    return [answer["label"] for answer in found].count(NEW) / len(found)


def kinds(store: Path) -> dict[str, str]:
    listed = json.loads(run(DEVICE, "taught", "list", store, "--json"))
    return {one["label"]: one["kind"] for one in listed}
