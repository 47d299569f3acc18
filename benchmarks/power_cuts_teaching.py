"""Teaching for `power_cuts_guest.py`: label after label, some forgotten, some steps taken back.

Step N is the N-th of a fixed plan, so what must be taught after it is worked out from the plan
alone, picture by picture. The budget is small: what was forgotten makes room for what comes.

All that is taught goes through the device's own code: the overlay, its list, pictures in WebP, the
file of features, the closed form. Only the network is another one: the means of 16 fields of a
picture stand for its features, since onnxruntime would take most of the time under emulation and
writes nothing. So nothing is said here of a network's features.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.closed_form import ClassStatistics
from edgecil_devices.errors import EdgecilError
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.teaching.features import TaughtFeatures
from edgecil_devices.teaching.head import Covariance, KnownClasses
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.records import DEFAULT_BUDGET_BYTES
from edgecil_devices.teaching.teacher import Teacher, encoded
from edgecil_devices.teaching_facts import CLOSED_FORM

BESIDE = Path("/data/taught.edgecil")
"""The bundle beside which it is taught; only its name is needed."""

BUDGET_BYTES = 120_000
"""Of the first step; every one that teaches has a byte more."""
SIZE_PX = 32
KNOWN = ("known-0", "known-1", "known-2")
CYCLE = ("new", "more", "new", "undo", "new", "more", "forget", "forget")
"""What the steps do, over and over; "more" teaches the newest label more, "forget" the oldest.
What is taken back was taught, never forgotten: see `Step.budget_bytes`."""
FEWEST_LABELS = 4
"""With fewer there is nothing to forget yet, and "more" is taught instead."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Taught:
    """A picture as the plan has it."""

    label: str
    source: str
    """Which of which step: "12-0"."""


@dataclass(frozen=True)
class Step:
    """One step of the plan."""

    kind: str
    """teach, forget or undo."""
    label: str
    after: tuple[Taught, ...]
    """All that is taught after it, in the order of teaching."""
    budget_bytes: int
    """After it. Taking back leaves it, so what was taken back is told from what was lost."""


def plan() -> Iterator[Step]:
    """All steps from the first."""
    before: tuple[Taught, ...] = ()
    now: tuple[Taught, ...] = ()
    number, budget_bytes = 0, DEFAULT_BUDGET_BYTES
    while True:
        for asked in CYCLE:
            number += 1
            labels = list(dict.fromkeys(one.label for one in now))
            kind = "more" if asked == "forget" and len(labels) < FEWEST_LABELS else asked
            if kind == "undo":
                before, now = now, before
                yield Step("undo", "", now, budget_bytes)
            elif kind == "forget":
                before, now = now, tuple(one for one in now if one.label != labels[0])
                yield Step("forget", labels[0], now, budget_bytes)
            else:
                label = f"thing {number}" if kind == "new" else labels[-1]
                new = [Taught(label, f"{number}-{index}") for index in range(2 + number % 3)]
                before, now = now, (*now, *new)
                budget_bytes = BUDGET_BYTES + number
                yield Step("teach", label, now, budget_bytes)


def planned(number: int) -> Step:
    """The step of this number; 0 is before the first."""
    steps = plan()
    made = Step("", "", (), DEFAULT_BUDGET_BYTES)
    for _ in range(number):
        made = next(steps)
    return made


def drawn(label: str, source: str) -> Pixels:
    """The picture (S, S, 3) of a label: 16 fields of its own colours, and noise."""
    side = SIZE_PX // 4
    fields = _random(label).integers(30, 225, (4, 4, 3)).repeat(side, axis=0).repeat(side, axis=1)
    noise = _random(f"{label} {source}").integers(-25, 25, (SIZE_PX, SIZE_PX, 3))
    return (fields + noise).astype(np.uint8)


def _random(text: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In place of one: the mean of each field of pictures (N, S, S, 3), as features (N, 48)."""
    fields = (
        pixels.reshape(len(pixels), 4, SIZE_PX // 4, 4, SIZE_PX // 4, 3).mean(axis=(2, 4)) / 255
    )
    features: NDArray[np.float32] = fields.reshape(len(pixels), -1).astype(np.float32)
    return features


@cache
def known() -> ClassStatistics:
    """What the release would bring: three classes of the same kind of pictures."""
    statistics = ClassStatistics.empty(48)
    for index, label in enumerate(KNOWN):
        pictures = [drawn(label, str(number)) for number in range(40)]
        statistics = statistics.added(network(np.stack(pictures)), index)
    return statistics


def teacher() -> Teacher:
    """Reads what is taught."""
    overlay = Overlay(BESIDE)
    statistics = known()
    classes = KnownClasses(
        statistics.means,
        statistics.counts.astype(float),
        Covariance.of(statistics.covariance, 47),
        0.1,
        1.0,
        CLOSED_FORM,
    )
    features = TaughtFeatures(overlay, "0" * 64, network, Preprocessing(SIZE_PX))
    return Teacher(overlay, KNOWN, classes, features)


def step(number: int) -> None:
    """Take the step of this number."""
    todo, before = planned(number), planned(number - 1)
    if todo.kind == "undo":
        Overlay(BESIDE).undo()
    elif todo.kind == "forget":
        Overlay(BESIDE).forget(todo.label)
    else:
        new = todo.after[len(before.after) :]
        pictures = [(drawn(one.label, one.source), one.source) for one in new]
        teacher().teach(todo.label, pictures, todo.budget_bytes)


def look(last: int) -> tuple[int, str]:
    """Which step was the last, by what is taught, and what a cut has left lying about.

    Raises:
        EdgecilError, OSError: neither `last` nor the one after it was, or something is not whole.
    """
    overlay = Overlay(BESIDE)
    if last and not overlay.exists:
        raise EdgecilError("nothing is taught")
    records = overlay.records()
    present = records.present
    taught = tuple(Taught(one.label, one.source) for one in present)
    state = taught, records.budget_bytes
    steps = {n: planned(n) for n in (last, last + 1)}
    number = next((n for n, one in steps.items() if (one.after, one.budget_bytes) == state), None)
    if number is None:
        newest = taught[-1].source if taught else "none"
        raise EdgecilError(
            f"not as after step {last} or {last + 1}; the newest picture is {newest}"
        )
    for one in present:
        if overlay.picture(one) != encoded(drawn(one.label, one.source)):
            raise EdgecilError(f"picture {one.source} is another one")
    _require_answers(taught)
    left = _left_over(overlay)
    return number, f"{len(left)} files to clear away" if left else ""


def _require_answers(taught: tuple[Taught, ...]) -> None:
    """Check that each label is recognised in a picture of it that was not taught."""
    reader = teacher()
    rows, biases = known().head()
    labels = dict.fromkeys(one.label for one in taught)
    for label in (*KNOWN, *labels):
        features = network(drawn(label, "unseen")[np.newaxis])
        trained = (features @ rows.T + biases).astype(np.float32)
        logits, new = reader.logits(features, trained)
        answer = (*KNOWN, *new)[int(np.argmax(logits))]
        if answer != label or set(new) != set(labels):
            raise EdgecilError(f"{label} is taken for {answer}; the labels are {new}")


def _left_over(overlay: Overlay) -> set[str]:
    """Names of files that nothing needs."""
    needed = {overlay.records_file, overlay.features_file, overlay.folder / "lock"}
    needed |= {overlay.folder / "pictures" / one.sha256 for one in overlay.records().pictures}
    there = (path for path in overlay.folder.rglob("*") if path.is_file())
    return {path.name for path in there if path not in needed}
