"""Claim: a device can tell a little of what it never learned, and no other simple score tells more.

Test pictures of the 30 classes of CIFAR-100 that a bundle knows against test pictures of the 70
other classes; then, with ten of these taught by 20 pictures each (three draws), known and taught
ones against the 60 left. Answers are the device's own. By these scores of a picture:

    energy      the logarithm of the sum of the exponentials of all logits
    softmax     the highest probability
    max logit   the largest logit

AUROC is the chance in percent that a known picture has the higher score. What passes is measured at
the thresholds that let pass 90, 95 and 99 % of other known pictures: the exporter finds them, of
energy, on the run's test pictures, which are the very ones here, and 90, 95 and 99 would be no
measurement. So they are found anew, as it does it, on every second one, and what passes is counted
among the others; then the other way round. Thresholds stay when something is taught, as on a
device. But there what is taken for a taught class counts as known, and all else is measured by the
logits of the release alone: that is the rows with 0 taught.

Two estimates of the energy's AUROC need no pictures of other classes. "Manifest" is what the
exporter wrote: test pictures against blends, the means of two of them. "One left out" is of test
pictures alone: each class's row in turn is taken from the head, and its pictures are the unknown.

    python benchmarks/unknown.py --out benchmarks/results [--bases one,lite0] [--work DIR]

prints the table and writes unknown.json and .md, with processor and versions, of the bases of
`teaching_bases.py`. Runs are kept in --work and trained once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from edgecil.data import ImageDataset
from edgecil_devices.prediction import softmax
from edgecil_devices.teaching.head import log_sum_exp
from edgecil_devices.teaching_facts import UnknownFacts
from edgecil_export.teachable import area_under_curve
from teaching_bases import (
    BASES,
    OLD,
    Answers,
    Device,
    Floats,
    Labels,
    base_device,
    drawn,
    logits_once_taught,
    measure_bases,
    tested_on,
)

ASKED, SHOTS, DRAWS = (90, 95, 99), 20, (1, 2, 3)
SCORES: dict[str, Callable[[Floats], Floats]] = {
    "energy": log_sum_exp,
    "softmax": lambda z: softmax(z.astype(np.float32)).max(axis=1).astype(np.float64),
    "max logit": lambda z: z.max(axis=1),
}
"""Logits (N, C) -> (N,)."""


def thresholds(known: Floats) -> list[float]:
    """At what scores the asked parts of known pictures pass; see `UnknownFacts`."""
    quantiles = np.quantile(known, np.linspace(0, 1, 101))
    facts = UnknownFacts(tuple(map(float, quantiles)), 0.5, len(known))
    return [facts.threshold(percent) for percent in ASKED]


def passing(scores: Floats, at: list[float]) -> list[float]:
    """Percent of the scores that are at least each threshold."""
    return [100 * float(np.mean(scores >= one)) for one in at]


def row(
    known: Floats, unknown: Floats, found_on: list[Floats], counted: list[Floats]
) -> dict[str, Any]:
    """What one score makes of known pictures and of unknown ones.

    Args:
        known: all scores of known pictures.
        unknown: of the others.
        found_on: known pictures' scores that thresholds are found on, one list of these after
            the other.
        counted: for each of them the known pictures whose passing is counted.
    """
    at = [thresholds(one) for one in found_on]
    got = [passing(one, some) for one, some in zip(counted, at, strict=True)]
    let_through = [passing(unknown, some) for some in at]
    return {
        "auroc": round(100 * area_under_curve(known, unknown), 2),
        "known_pass": [round(mean(parts), 2) for parts in zip(*got, strict=True)],
        "unknown_pass": [round(mean(parts), 2) for parts in zip(*let_through, strict=True)],
    }


def as_exported(known: Answers, other: Answers) -> Iterator[dict[str, Any]]:
    """A row for each score, where nothing was taught."""
    for name, score in SCORES.items():
        scores, unknown = (score(some.logits.astype(np.float64)) for some in (known, other))
        halves = [scores[::2], scores[1::2]]
        yield {"taught": 0, "pictures": "old", "score": name} | row(
            scores, unknown, halves, halves[::-1]
        )


def once_taught(
    device: Device, dataset: ImageDataset, labels: Labels, draw: int, seen: tuple[Answers, ...]
) -> Iterator[dict[str, Any]]:
    """A row for each score and for old and taught classes.

    Args:
        device: with the bundle.
        dataset: has the pictures.
        labels: of the old classes, then of those that are taught.
        draw: of the pictures.
        seen: test pictures of old classes, of those that are taught, and of all others.
    """
    random = np.random.default_rng(draw)
    shown = {dataset.classes[c]: drawn(dataset, c, SHOTS, random) for c in labels[OLD:]}
    logits = logits_once_taught(device, shown, *seen)
    for name, score in SCORES.items():
        old, new, unknown = (score(some.astype(np.float64)) for some in logits)
        before = score(seen[0].logits.astype(np.float64))
        found_on = [before[::2], before[1::2]]
        about = {"taught": len(labels) - OLD, "draw": draw, "score": name}
        yield about | {"pictures": "old"} | row(old, unknown, found_on, [old[1::2], old[::2]])
        yield about | {"pictures": "taught"} | row(new, unknown, found_on, [new, new])


def estimates(device: Device, truth: Labels, known: Answers) -> Iterator[dict[str, Any]]:
    """What can be said without pictures of other classes."""
    facts = device.bundle.manifest.unknown
    assert facts is not None
    areas = []
    for c in range(OLD):
        rest = log_sum_exp(np.delete(known.logits.astype(np.float64), c, axis=1))
        areas.append(area_under_curve(rest[truth != c], rest[truth == c]))
    for pictures, auroc in (("manifest", facts.auroc), ("one left out", mean(areas))):
        about = {"taught": 0, "score": "energy", "pictures": pictures}
        yield about | {"auroc": round(100 * auroc, 2)}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: means over the draws."""
    asked = " / ".join(map(str, ASKED))
    yield (
        f"| base | taught | known pictures | score | AUROC | of these pass, {asked} asked "
        "| of unknown ones |"
    )
    yield "|---" * 7 + "|"
    names = ("base", "taught", "pictures", "score")
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        same = [row for row in rows if tuple(row[name] for name in names) == key]
        cells = [str(cell) for cell in key] + [f"{mean(one['auroc'] for one in same):.1f}"]
        for part in ("known_pass", "unknown_pass"):
            lists = [one[part] for one in same if part in one]
            means = [f"{mean(some):.1f}" for some in zip(*lists, strict=True)]
            cells.append(" / ".join(means))
        yield f"| {' | '.join(cells)} |"


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    device, labels = base_device(base, work, dataset)
    pictures, truth = tested_on(dataset, labels[:OLD])
    known = device.answers(pictures)
    others = np.setdiff1d(np.arange(len(dataset.classes)), labels[:OLD])
    other_pictures, places = tested_on(dataset, others)
    other = device.answers(other_pictures)
    new = np.isin(others[places], labels[OLD:])
    for found in (*as_exported(known, other), *estimates(device, truth, known)):
        yield {"base": base} | found
    for draw in DRAWS:
        seen = (known, other.of(new), other.of(~new))
        for found in once_taught(device, dataset, labels, draw, seen):
            yield {"base": base} | found


ABOUT = (
    "AUROC of known test pictures of CIFAR-100 against those of all other classes, and what passes "
    f"of both, in percent; where ten classes were taught with {SHOTS} pictures each, means of "
    f"{len(DRAWS)} draws. Made by `benchmarks/unknown.py`, which says what the columns are."
)

if __name__ == "__main__":
    measure_bases("unknown", BASES, rows_of, table, ABOUT)
