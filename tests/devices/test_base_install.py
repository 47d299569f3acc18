"""What `pip install edgecil` brings, and that it is enough for every command of a device."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.__main__ import VERBS
from edgecil_devices.package import pack, read_package

if TYPE_CHECKING:
    from tests.devices.conftest import BaseInstall, TinyNetwork

pytestmark = pytest.mark.slow

KEY = bytes(range(32))
SIGNATURE = KEY + bytes(64)
"""Wrong, but who has not the extra `sign` cannot tell."""
RUNTIME_ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"typer", "rich", "pydantic", "edgecil", "edgecil_export"}:
            raise ImportError(f"{name} must not be needed here")

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def script(base_install: "BaseInstall") -> ModuleType:
    return base_install.script


@pytest.fixture(scope="module")
def python(base_install: "BaseInstall", wheel: Path) -> Iterator[Path]:
    """The Python of a fresh environment with nothing but a wheel of this tree."""
    # Not pytest's folder, which would be kept: this one has 200 MB.
    with TemporaryDirectory() as folder:
        yield base_install.environment(wheel, Path(folder) / "environment")


@pytest.fixture
def releases(tiny: "TinyNetwork", tmp_path: Path) -> tuple[Path, Path]:
    """A bundle, release 1, by which red is an ape, green a bee and blue a cat.

    By an update of its head, release 2, red is a bee.
    """
    colours = np.hstack([np.eye(3), np.zeros((3, 4))])
    blocks = [np.eye(3, 4), np.zeros((3, 4))]
    network = replace(tiny, trunk=np.eye(4, 3), blocks=blocks, head=colours)
    first, update = tmp_path / "first.edgecil", tmp_path / "second.update"
    manifest = replace(network.manifest(), release=1)
    first.write_bytes(pack(manifest, network.blobs(), signatures=SIGNATURE))
    network.head = np.roll(colours, 1, axis=0)
    head = {"head.npy": network.blobs()["head.npy"]}
    base = read_package(first).manifest_sha256
    update.write_bytes(pack(replace(network.manifest(), release=2), head, base=base))
    return first, update


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders: red apes, green bees and blue cats, of five shades each."""
    folder = tmp_path / "photos"
    for channel, name in enumerate(("ape", "bee", "cat")):
        (folder / name).mkdir(parents=True)
        for shade in range(5):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., channel] = 250 - 10 * shade
            Image.fromarray(pixels).save(folder / name / f"{shade}.png")
    return folder


@dataclass(frozen=True)
class Door:
    """One of the two ways in."""

    command: tuple[str | Path, ...]
    environment: dict[str, str]
    verbs: set[str] = field(default_factory=set)
    """Those that have worked."""

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [*self.command, *words]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, check=False
        )

    def told(self, verb: str, *arguments: str | Path) -> str:
        """What a verb prints."""
        done = self.run(verb, *arguments)
        assert done.returncode == 0, (verb, done.stdout, done.stderr)
        self.verbs.add(verb)
        return done.stdout

    def label_served(self, bundle: Path, picture: Path) -> Any:
        """What a server that is started, asked once and ended says that the picture shows."""
        command = [*self.command, "serve", bundle, "--port", "0"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=self.environment
        ) as server:
            try:
                assert server.stderr
                (address,) = re.findall(r"http://\S+", server.stderr.readline())
                with urlopen(f"{address}predict", picture.read_bytes(), 30) as answer:
                    label = json.load(answer)["label"]
                server.terminate()
                assert server.wait(300) == 0
            finally:
                server.kill()
        self.verbs.add("serve")
        return label


@pytest.fixture
def edgecil(python: Path) -> Door:
    environment = {name: os.environ[name] for name in ("PATH", "XDG_CACHE_HOME")}
    return Door((python.with_name("edgecil"),), environment)


@pytest.fixture
def edgecil_devices(python: Path, edgecil: Door, tmp_path: Path) -> Door:
    """Neither typer nor the rest of edgecil can be imported, in its child processes neither."""
    (tmp_path / "sitecustomize.py").write_text(RUNTIME_ALONE)
    environment = {**edgecil.environment, "PYTHONPATH": str(tmp_path)}
    assert "must not be needed" in Door((python, "-c", "import typer"), environment).run().stderr
    return Door((python, "-m", "edgecil_devices"), environment)


def test_it_brings_nothing_that_only_training_needs(script: ModuleType, python: Path) -> None:
    site = script.site_of(python)
    packages = script.packages_in(site)
    names = {package.name for package in packages}
    assert {"edgecil", "numpy", "onnxruntime", "pillow", "typer"} < names
    assert not names & {"torch", "torchvision", "onnx", "onnxscript", "safetensors", "matplotlib"}
    on_disk = sum(path.lstat().st_size for path in site.rglob("*") if path.is_file())
    assert sum(package.installed_mb for package in packages) == pytest.approx(on_disk / 1e6, 0.01)


def test_packages_that_only_the_command_needs_are_told_apart(
    script: ModuleType, python: Path
) -> None:
    runtime = {
        package.name: package.for_runtime for package in script.packages_in(script.site_of(python))
    }
    assert runtime["protobuf"]  # onnxruntime's
    assert not runtime["typer"]
    assert not runtime["rich"]  # typer's


@pytest.mark.parametrize("name", ["edgecil", "edgecil_devices"])
def test_every_verb_of_a_device_works_by_both_doors(
    request: pytest.FixtureRequest,
    releases: tuple[Path, Path],
    photos: Path,
    tmp_path: Path,
    name: str,
) -> None:
    door: Door = request.getfixturevalue(name)
    (first, update), store, picture = releases, tmp_path / "store", photos / "ape" / "0.png"

    def label() -> Any:
        return json.loads(door.told("predict", store, picture, "--json"))["label"]

    assert "release 1 is current" in door.told("install", first, "--store", store)
    assert label() == "ape"
    assert "release 2 is current" in door.told("update", update, "--store", store)
    assert label() == "bee"
    assert "release 1 is current" in door.told("rollback", "--store", store)
    assert json.loads(door.told("status", "--store", store, "--json"))["release"] == 1
    assert door.told("fsck", "--store", store) == f"{store}: sound\n"
    assert door.label_served(store, picture) == "ape"
    beside = door.told("teach", first, picture, "--label", "mug", "--budget", "1MB")
    assert beside.startswith("taught 'mug': 1 picture")
    assert door.told("taught", "list", first).startswith("mug")
    examined = json.loads(door.told("doctor", store, "--json"))["findings"]
    assert {"onnxruntime", "bundle"} <= {finding["name"] for finding in examined}
    measured = json.loads(door.told("bench", first, "--seconds", "0.2", "--json"))
    assert measured["setting"]["classes"] == 3
    assert door.verbs == set(VERBS)


def test_eval_and_info_work_too(edgecil: Door, releases: tuple[Path, Path], photos: Path) -> None:
    evaluated = json.loads(edgecil.told("eval", releases[0], "--data", photos, "--json"))
    assert evaluated["images"] == 3
    assert evaluated["accuracy"] == 100
    assert (
        json.loads(edgecil.told("info", releases[0], "--json"))["size"]
        == releases[0].stat().st_size
    )


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["demo"], "train"),
        (["keys", "new"], "sign"),
        (["install", "first.edgecil", "--store", "store", "--trust", "key.pub"], "sign"),
        (["predict", "first.edgecil", "camera"], "camera"),
    ],
)
def test_what_needs_an_extra_names_it(
    edgecil: Door,
    releases: tuple[Path, Path],
    tmp_path: Path,
    words: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_text(f"ed25519:{base64.b64encode(KEY).decode()}\n")
    done = edgecil.run(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert f"pip install 'edgecil[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
