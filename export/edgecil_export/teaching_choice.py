"""How devices are to learn beside a bundle, decided on pictures that were not trained on.

Teaching is played through: a part of the classes is taken out of the trained head and out of the
statistics, taught with a few of its held-out pictures, as a device does it, and all the other
held-out pictures are classified. Each class is taken out once, a fifth of them at a time, since one
class among a hundred could not show in the total what a setting does to it. Classes count alike.

The network has seen the classes that are taken out, so its features are made for them: real new
classes come out worse, and these accuracies flatter. They are there to compare settings with, and
may like large r and tau too well.

What is usual stays unless something else is better by more than chance gives: by a least gain, and
by twice the standard error of the gain, classes being the draws. Six networks of ten classes, then
taught two that were really new: on five all stayed, where the best as measured would have gained
0.2 points at most or lost up to 0.3. On the sixth (EfficientNet-Lite0, memo, five tasks) the closed
form decides, which brought 5.6: 81.5 % instead of 75.9.

Shapes: N images, F features, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.closed_form import Floats
from edgecil_devices.teaching.head import KnownClasses, Prototype, TaughtHead
from edgecil_devices.teaching_facts import CLOSED_FORM
from edgecil_export.evenly import evenly
from edgecil_export.teachable import HeldOutAnswers

SHRINKAGES = (0.01, 0.1, 0.3, 0.5)
TAUS = (0.25, 0.5, 1.0)
TAUGHT_PICTURES = (20, 5)
"""Pictures that a class is taught with, at most half of those there are."""
LEAST_PICTURES, LEAST_CLASSES = 10, 3
"""With fewer held-out pictures of a class, or fewer classes, nothing is decided."""
LEAST_GAIN_OF_SETTINGS, LEAST_GAIN_OF_CLOSED_FORM = 0.2, 1.0
"""Points of percent."""

_PARTS = 5
_MOST_PICTURES, _ENOUGH_OF_A_CLASS = 3000, 40
"""All pictures are used up to the first; beyond, so many of a class are enough."""

Indices = NDArray[np.int64]
Settings = tuple[float, float]
"""Shrinkage and tau."""


@dataclass(frozen=True)
class Comparison:
    """Of what is usual and of its rival, on the same pictures."""

    usual: Floats
    """(C,), right answers in percent of each class's pictures."""
    rival: Floats
    """(C,), the same."""
    least_gain: float
    """Points that a rival must gain."""

    @property
    def rival_wins(self) -> bool:
        """Whether the rival is better by more than chance gives."""
        gains = self.rival - self.usual
        error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
        return bool(gains.mean() >= max(self.least_gain, 2 * error))


@dataclass(frozen=True)
class TeachingChoice:
    """How devices are to learn, and why."""

    known: KnownClasses
    """With what was chosen."""
    why: str
    """For people."""

    def line(self) -> str:
        """For people."""
        known = self.known
        rules = "closed form" if known.rules == CLOSED_FORM else "trained head"
        return (
            f"teaching: {_said((known.shrinkage, known.tau))}, the {rules} decides among the "
            f"release's classes ({self.why})"
        )


def usual(known: KnownClasses) -> TeachingChoice:
    """What is usual, for want of pictures to decide by."""
    return TeachingChoice(
        known,
        f"as usual: it takes {LEAST_PICTURES} held-out pictures a class and {LEAST_CLASSES} "
        "classes to choose",
    )


def chosen(known: KnownClasses, held_out: HeldOutAnswers) -> TeachingChoice:
    """What held-out pictures say is best.

    First what decides among the release's classes, with the usual shrinkage; then, with that,
    shrinkage and tau.

    Args:
        known: of the release, with what is usual.
        held_out: of its classes.
    """
    pictures = np.bincount(held_out.labels, minlength=len(known.means))
    if len(pictures) < LEAST_CLASSES or pictures.min() < LEAST_PICTURES:
        return usual(known)
    held_out = _enough(held_out, len(pictures))
    heads = heads_compared(known, held_out)
    if heads.rival_wins:
        known = replace(known, rules=CLOSED_FORM)
    by_settings = taught_accuracies(known, held_out)
    before = (known.shrinkage, known.tau)
    best = max(
        (settings for settings in by_settings if settings != before),
        key=lambda settings: (by_settings[settings].mean(), settings[1] == known.tau),
    )
    learning = Comparison(by_settings[before], by_settings[best], LEAST_GAIN_OF_SETTINGS)
    if learning.rival_wins:
        known = replace(known, shrinkage=best[0], tau=best[1])
    return TeachingChoice(known, _numbers(heads, learning, before, best))


def _numbers(heads: Comparison, learning: Comparison, before: Settings, best: Settings) -> str:
    return (
        f"held-out pictures right: head {heads.usual.mean():.1f} %, closed form "
        f"{heads.rival.mean():.1f} %; with classes left out and taught: "
        f"{learning.usual.mean():.1f} % with {_said(before)}, "
        f"{learning.rival.mean():.1f} % with {_said(best)}"
    )


def _said(settings: Settings) -> str:
    return f"r {settings[0]:.2g}, tau {settings[1]:g}"


def heads_compared(known: KnownClasses, held_out: HeldOutAnswers) -> Comparison:
    """The trained head, and the closed form as its rival, on the release's classes alone."""
    rows, biases = known.linear(known.means, known.counts)
    closed_form = held_out.features.astype(np.float64) @ rows.T + biases
    every = np.ones(len(held_out.labels), np.bool_)
    usual, rival = (
        _right_percent(answers.argmax(axis=1), held_out.labels, every, len(rows))
        for answers in (held_out.logits, closed_form)
    )
    return Comparison(usual, rival, LEAST_GAIN_OF_CLOSED_FORM)


def taught_accuracies(known: KnownClasses, held_out: HeldOutAnswers) -> dict[Settings, Floats]:
    """Right answers in percent of each class (C,), over all parts that are left out and taught.

    Where the closed form decides, tau changes no answer, and only the known one is tried.

    Args:
        known: of the release; its own shrinkage and tau are among those tried.
        held_out: at least two pictures of each class.
    """
    taus = [known.tau] if known.rules == CLOSED_FORM else sorted({*TAUS, known.tau})
    found = {}
    for shrinkage in sorted({*SHRINKAGES, known.shrinkage}):
        shrunk = replace(known, shrinkage=shrinkage)
        of_runs = np.array(list(_taught_runs(shrunk, held_out, taus)))  # (runs, taus, C)
        for tau, by_class in zip(taus, of_runs.mean(axis=0), strict=True):
            found[shrinkage, tau] = by_class
    return found


def _taught_runs(
    known: KnownClasses, held_out: HeldOutAnswers, taus: list[float]
) -> Iterator[list[Floats]]:
    """For each part and number of pictures, the accuracies (C,) with each tau."""
    features, labels, count = held_out.features, held_out.labels, len(known.means)
    for part in range(min(_PARTS, count)):
        left_out = np.arange(part, count, _PARTS)
        old = np.setdiff1d(np.arange(count), left_out)
        order = np.concatenate([old, left_out])
        rest = replace(known, means=known.means[old], counts=known.counts[old])
        for most in TAUGHT_PICTURES:
            taught = [_taught(labels, int(label), most) for label in left_out]
            head = TaughtHead(rest, [Prototype(_doubles(features[some]), None) for some in taught])
            scores, trained = head.scores(features), held_out.logits[:, old]
            others = np.ones(len(labels), np.bool_)
            others[np.concatenate(taught)] = False
            yield [
                _right_percent(
                    order[head.combined(trained, scores, tau).argmax(axis=1)], labels, others, count
                )
                for tau in taus
            ]


def _taught(labels: Indices, label: int, most: int) -> Indices:
    mine = np.flatnonzero(labels == label)
    return evenly(mine, min(most, len(mine) // 2))


def _enough(held_out: HeldOutAnswers, class_count: int) -> HeldOutAnswers:
    most = max(_ENOUGH_OF_A_CLASS, _MOST_PICTURES // class_count)
    of_classes = [np.flatnonzero(held_out.labels == label) for label in range(class_count)]
    some = np.concatenate([evenly(mine, most) for mine in of_classes])
    return HeldOutAnswers(held_out.features[some], held_out.logits[some], held_out.labels[some])


def _right_percent(
    answers: Indices, labels: Indices, counted: NDArray[np.bool_], class_count: int
) -> Floats:
    """Of the pictures that count, by class: (C,)."""
    right = np.bincount(labels[counted & (answers == labels)], minlength=class_count)
    percent: Floats = 100 * right / np.bincount(labels[counted], minlength=class_count)
    return percent


def _doubles(features: NDArray[np.float32]) -> Floats:
    doubles: Floats = features.astype(np.float64)
    return doubles
