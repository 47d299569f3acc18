"""The verbs of teaching for `crash_points.py`: `teach` and `taught forget`, `undo` and `export`.

After every point `taught list` works at once; what is taught is what it was, or what it was to be:
labels, and every picture decodes; answers are those that belong to it; the next `teach` works; and
then nothing lies about. A zip file is the old one (or none) or the new one, to the byte, and what
is taught is untouched.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices import Classifier
from edgecil_devices.__main__ import main as device
from edgecil_devices.errors import EdgecilError
from edgecil_devices.teaching.overlay import Overlay

Case = tuple[str, tuple[str, ...], Path, Callable[[Path], str]]
"""Name, arguments, folder before, and check: the fields of a `crash_points.Verb`."""

BUNDLE, OUT = "b.edgecil", "out/taught.zip"
COLOURS = {"mug": (230, 20, 20), "cup": (20, 30, 235), "jug": (240, 200, 30), "odd": (200, 40, 200)}
"""What stands for things that are taught; `odd` corrects a class of the release."""

ROOM = 4_000_000
"""The budget of what is taught after the verb, so that nothing has to go."""

SAME_SCORE = 1e-5
"""Features may differ in their last bits by which pictures were computed together."""


@dataclass(frozen=True)
class Whole:
    """All that a person could see of what is taught."""

    taught: dict[str, tuple[str, ...]]
    """The sha256 of the pictures of each label."""
    listed: list[tuple[str, int]]
    """What `taught list` says: labels and numbers of pictures."""
    answers: tuple[tuple[str, bool, float], ...]
    """Label, whether it was taught, and score, for pictures of every colour."""
    zipped: bytes | None
    """The exported file."""

    def is_like(self, other: "Whole") -> bool:
        """Whether they are the same but for the last bits of the scores."""
        scores = zip(self.answers, other.answers, strict=True)
        alike = all(a[:2] == b[:2] and abs(a[2] - b[2]) < SAME_SCORE for a, b in scores)
        return alike and replace(self, answers=()) == replace(other, answers=())


@dataclass(frozen=True)
class Check:
    """What must hold after a verb was ended or failed."""

    old: Whole
    new: Whole
    export: bool
    """Whether the verb is `taught export`, which is then done again."""

    def __call__(self, at: Path) -> str:
        """Look, teach once more, and look again; what was found first.

        Raises:
            EdgecilError: something is not as it must be.
        """
        found = look(at)
        name = "new" if found.is_like(self.new) else "old"
        if not found.is_like(self.new if name == "new" else self.old):
            raise EdgecilError(f"neither old nor new: {found.taught}, {found.answers}")
        if self.export:
            verb(at, "taught", "export", BUNDLE, "--out", OUT)
            if not look(at).is_like(self.new):
                raise EdgecilError("the next export is another one")
        verb(at, "teach", BUNDLE, *drawn(at, "jug"), "--label", "jug", "--budget", str(ROOM))
        after = look(at).taught
        if set(after) != {*found.taught, "jug"} or after | found.taught != after:
            raise EdgecilError(f"after the next step: {after}")
        if lying := left_over(at):
            raise EdgecilError(f"lies about after the next step: {lying}")
        return name


def cases(first: Path, folder: Path) -> Iterator[Case]:
    """The verbs, each with a folder that has the bundle, pictures and what is taught.

    Args:
        first: a bundle that was exported with --teachable.
        folder: where to make them.
    """
    none, one, two = folder / "none", folder / "one", folder / "two"
    (none / "out").mkdir(parents=True)
    shutil.copy(first, none / BUNDLE)
    known = Classifier.load(none / BUNDLE, 1).classes[0]
    for seed, label in enumerate(COLOURS):
        draw(none / label, COLOURS[label], 6, seed)
    mugs = ("teach", BUNDLE, *drawn(none, "mug"), "--label", "mug", "--threads", "1")
    cups = ("teach", BUNDLE, *drawn(none, "cup")[:3], "--label", "cup", "--threads", "1")
    after(none, mugs, one)
    after(one, cups, two)
    full = str(Classifier.load(one / BUNDLE, 1).taught_bytes)
    fix = ("teach", BUNDLE, *drawn(none, "odd")[:3], "--label", known, "--correct")
    export = ("taught", "export", BUNDLE, "--out", OUT)
    older = after(one, export, folder / "older")
    after(older, cups, folder / "older-and-two")
    for name, arguments, before in (
        ("teach, the first time", mugs, none),
        ("teach", cups, one),
        ("teach --correct", (*fix, "--threads", "1"), one),
        ("teach, the budget full", (*cups, "--budget", full), one),
        ("taught forget", ("taught", "forget", BUNDLE, "--label", "mug"), two),
        ("taught undo", ("taught", "undo", BUNDLE), two),
        ("taught export", export, two),
        ("taught export over an older one", export, folder / "older-and-two"),
    ):
        new = look(after(before, arguments, folder / f"after {name}"))
        check = Check(look(before), new, arguments[1] == "export")
        if check.old.is_like(check.new):
            raise EdgecilError(f"{name} changes nothing, so it tries nothing")
        if arguments[1] != "export" and check.old.answers == check.new.answers:
            raise EdgecilError(f"{name} changes no answer")
        yield name, arguments, before, check


def after(before: Path, arguments: Sequence[str], made: Path) -> Path:
    """A copy of the folder `before` in which a verb was run to its end."""
    shutil.copytree(before, made)
    verb(made, *arguments)
    return made


def verb(at: Path, *arguments: str) -> str:
    """Run a verb of the device in a folder, in this process; what it printed.

    Raises:
        EdgecilError: its exit code is not 0, or it warned.
    """
    told, warned, here = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(at)
    try:
        with redirect_stdout(told), redirect_stderr(warned):
            code = device(arguments)
    finally:
        os.chdir(here)
    if code or warned.getvalue():
        raise EdgecilError(f"{' '.join(arguments[:2])}: exit code {code}, {warned.getvalue()}")
    return told.getvalue()


def look(at: Path) -> Whole:
    """What a reader gets, with the first command that it gives.

    Raises:
        EdgecilError: a picture or the list is damaged.
    """
    listed = json.loads(verb(at, "taught", "list", BUNDLE, "--json"))
    overlay = Overlay(at / BUNDLE)
    taught: dict[str, tuple[str, ...]] = {}
    for one in overlay.records().present:
        Image.open(io.BytesIO(overlay.picture(one))).load()
        taught[one.label] = (*taught.get(one.label, ()), one.sha256)
    classifier = Classifier.load(at / BUNDLE, 1)
    found = [
        classifier.predict(pixels)
        for seed, colour in enumerate(COLOURS.values())
        for pixels in noisy(colour, 3, 100 + seed)
    ]
    answers = tuple((one.label, one.taught, one.score) for one in found)
    zipped = (at / OUT).read_bytes() if (at / OUT).exists() else None
    return Whole(taught, [(one["label"], one["pictures"]) for one in listed], answers, zipped)


def left_over(at: Path) -> set[str]:
    """Files that nothing needs."""
    overlay = Overlay(at / BUNDLE)
    needed = {overlay.records_file, overlay.features_file, overlay.folder / "lock", at / OUT}
    needed |= {overlay.folder / "pictures" / one.sha256 for one in overlay.records().pictures}
    there = (path for room in (overlay.folder, at / "out") for path in room.rglob("*"))
    return {path.name for path in there if path.is_file() and path not in needed}


def noisy(colour: tuple[int, int, int], count: int, seed: int) -> NDArray[np.uint8]:
    """Pictures (count, 40, 40, 3) of one colour and some noise."""
    noise = np.random.default_rng(seed).integers(-40, 40, (count, 40, 40, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def draw(folder: Path, colour: tuple[int, int, int], count: int, seed: int) -> None:
    """Write pictures into a new folder."""
    folder.mkdir()
    for number, pixels in enumerate(noisy(colour, count, seed)):
        Image.fromarray(pixels).save(folder / f"{number}.png")


def drawn(at: Path, label: str) -> list[str]:
    """The paths of a label's pictures, relative to the folder `at`."""
    return sorted(str(path.relative_to(at)) for path in (at / label).iterdir())
