"""Every command and example of the documents runs in the order in which it stands there.

What cannot run says why in `WHY_NOT`. Nothing is changed but what `SHORTER` has, so that it does
not take hours, the place of the store, and a measured time longer than `CALM_MS`.
"""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from edgecil.cli import app
from tests.docs.shell import DOCUMENTS, FENCED, ROOT, TITLES, commands, ours

pytestmark = pytest.mark.slow

WHY_NOT = {
    "demo": "learns for a minute or two; the tests of the verb have it",
    "serve": "does not end",
    "--watch": "does not end",
    "camera": "needs a camera",
    "csi": "needs a camera",
    "-": "reads the paths of another program",
    "http://192.168.1.20/now.jpg": "needs that address",
    "--from": "needs a server of releases",
    "--time": "takes as long as it says",
    "cifar100": "trains for an hour",
    "cifar100.edgecil": "is made by a command that trains for an hour",
    "runs/cifar100": "is made by a command that trains for an hour",
    "runs/comparison": "is made by a command that trains for hours",
    "runs/seen": "is made by a command that trains for an hour",
    "cifar100-b0-inc10": "trains for days",
    "imagenet1000-b0-inc100": "needs ImageNet and eight cards",
}
"""Words of commands that are not run, and why. A plan is made all the same: it needs no data."""
SHORTER = {"train": ["--epochs", "1"], "bench": ["--seconds", "0.5"]}
"""What is added to a verb."""
LENGTHS = {"40000": "40"}
"""Pictures a task: those asked for, and those shown here."""
STORE = "/var/lib/edgecil"
CALM_MS = 6
"""A picture takes two, unless other processes compute as well; 8 are asked for."""


def drawn(folder: Path, classes: list[str], seed: int) -> None:
    """Coloured noise, twelve pictures a class."""
    draw = np.random.default_rng(seed)
    for name in classes:
        colour = draw.integers(40, 216, 3)
        (folder / name).mkdir(parents=True)
        for number in range(12):
            noise = colour + draw.integers(-40, 40, (32, 32, 3))
            pixels = np.clip(noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


class Desk:
    """A folder in which commands are given as in the documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.new_classes = 0
        drawn(folder / "photos", ["tabby", "dog", "cow", "pig", "hen", "fox"], 0)
        drawn(folder / "signs", ["left", "right"], 1)
        for number, name in enumerate(["picture", "cat", "odd", *(f"mug{n}" for n in range(1, 6))]):
            shutil.copy(folder / "photos" / "tabby" / f"{number}.png", folder / f"{name}.png")
            Image.open(folder / f"{name}.png").save(folder / f"{name}.jpg")

    def give(self, words: list[str]) -> None:
        """Give a command, which must succeed."""
        if words[0] == "learn" and "--data" in words and ".zip" not in shlex.join(words):
            self._draw_new_classes(self.folder / words[words.index("--data") + 1])
        if "--bench" in words:
            self._bench(words[1], words[words.index("--bench") + 1])
        words = [LENGTHS.get(word, word.replace(STORE, "store")) for word in words]
        if "--images-a-task" not in words:
            words += SHORTER.get(words[0], [])
        assert get_command(app).main(words, standalone_mode=False) in (None, 0), shlex.join(words)

    def _draw_new_classes(self, folder: Path) -> None:
        """Other classes than before: a run learns a class once."""
        shutil.rmtree(folder, ignore_errors=True)
        self.new_classes += 1
        drawn(folder, [f"owl-{self.new_classes}", f"rat-{self.new_classes}"], self.new_classes)

    def _bench(self, run: str, file: str) -> None:
        """What bench prints on the device, here of this machine, as if it were calm."""
        self.export(run, "measured.edgecil")
        with Path(file).open("w") as printed, redirect_stdout(printed):
            self.give(["bench", "measured.edgecil", "--json"])
        found = json.loads(Path(file).read_text())
        faster = min(1.0, CALM_MS / found["latency_ms"]["total"]["p50"])
        for times in found["latency_ms"].values():
            times.update({name: faster * ms for name, ms in times.items()})
        Path(file).write_text(json.dumps(found))

    def train(self, run: str) -> None:
        """Make a run, as another page has told it."""
        asked = "train --data photos/ --budget 3MB --increment 3 --backbone resnet14 --run"
        self.give([*asked.split(), run])

    def export(self, run: str, bundle: str, *more: str) -> None:
        """Make a teachable bundle of it."""
        self.give(["export", run, "--out", bundle, "--teachable", *more])


def nothing(desk: Desk) -> None:
    """The document makes all that it needs."""


def a_run(desk: Desk) -> None:
    desk.train("runs/photos")


def a_bundle(desk: Desk) -> None:
    desk.train("runs/photos")
    desk.export("runs/photos", "photos.edgecil")


def a_bundle_and_a_store(desk: Desk) -> None:
    a_bundle(desk)
    desk.give(["install", "photos.edgecil", "--store", STORE])


def a_bundle_of_cats(desk: Desk) -> None:
    desk.train("runs/cats")
    desk.export("runs/cats", "cats.edgecil")
    shutil.copy("picture.png", "photos/one.png")


def cats_to_export(desk: Desk) -> None:
    desk.train("runs/cats")


def a_run_and_a_release(desk: Desk) -> None:
    desk.train("runs/photos")
    desk.give(["keys", "new", "edgecil.key"])
    desk.give(
        [
            "export",
            "runs/photos",
            "--sign",
            "edgecil.key",
            "--out",
            "photos-1.edgecil",
            "--teachable",
        ]
    )


def release_7_and_a_task_more(desk: Desk) -> None:
    desk.train("runs/train")
    Path("site").mkdir()
    desk.give(["keys", "new", "cats.key"])
    desk.give(
        [
            "export",
            "runs/train",
            "--sign",
            "cats.key",
            "--release",
            "7",
            "--out",
            "site/release-7.edgecil",
        ]
    )
    desk.give(["learn", "runs/train", "--data", "more"])


def what_a_demo_leaves(desk: Desk) -> None:
    desk.train("demo/run")
    desk.export("demo/run", "demo/glyphs.edgecil")
    shutil.copytree("photos/dog", "demo/pictures")


BEFORE: dict[str, Callable[[Desk], None]] = {
    "docs/compare.md": nothing,
    "docs/device/index.md": a_bundle_and_a_store,
    "docs/get-started.md": what_a_demo_leaves,
    "docs/how-it-works.md": a_run,
    "docs/index.md": nothing,
    "docs/releases.md": a_run,
    "docs/teach.md": a_run_and_a_release,
    "docs/your-photos.md": nothing,
    "README.md": nothing,
    "benchmarks/cluster.md": nothing,
    "devices/FLEET.md": release_7_and_a_task_more,
    "devices/README.md": a_bundle_of_cats,
    "export/README.md": cats_to_export,
}
"""What a document takes for made before it begins; those that are missing name no command."""


def steps(text: str) -> Iterator[list[str] | str]:
    """Commands of ours as words and examples in Python as text, as they stand in a document."""
    for block in FENCED.finditer(text):
        if block["kind"] == "python":
            yield block["text"]
        elif block["kind"] == "sh":
            yield from filter(None, map(ours, commands(block["text"])))


def why_not(words: list[str]) -> str | None:
    """Why a command is not run."""
    if words[0] == "plan" and "--time" not in words:
        return None
    return next((WHY_NOT[word] for word in words if word in WHY_NOT), None)


@pytest.mark.parametrize("name", BEFORE)
def test_a_document_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path)
    BEFORE[name](desk)
    said: dict[str, Any] = {"__name__": "example"}
    for step in steps((ROOT / name).read_text("utf-8")):
        if isinstance(step, str):
            exec(compile(step, name, "exec", dont_inherit=True), said)
        elif why_not(step) is None:
            desk.give(step)


def test_no_document_with_commands_is_left_out() -> None:
    apart = {"docs/extend.md"}  # whose examples add to our tables, see test_pages
    texts = {name: path.read_text("utf-8") for name, path in zip(TITLES, DOCUMENTS, strict=True)}
    assert {name for name, text in texts.items() if any(steps(text))} - apart == set(BEFORE)


def test_whatever_does_not_run_is_still_told() -> None:
    told = {
        word
        for path in DOCUMENTS
        for step in steps(path.read_text("utf-8"))
        if not isinstance(step, str) and why_not(step)
        for word in step
    }
    assert set(WHY_NOT) - told == set()
