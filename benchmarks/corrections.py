"""Claim: a correction mends pictures like it, and costs the other classes next to nothing.

30 classes of CIFAR-100 that a bundle knows. Half of each class's test pictures are there to be
corrected where the bundle, as exported, takes them for another class; the other half is measured
on. The ten classes with most mistakes are corrected with 1, 5 and 20 pictures (or all there are),
each alone, and then all ten together; three draws of the halves and the pictures. The same with
test pictures that are blurred and darkened, as by another camera in the evening: what a device is
corrected for where it stands. Percent right, of

    class        test pictures of the corrected classes, of the half that is measured on
    others       those of all other classes, of the same half
    corrected    the corrected pictures themselves
    as trained   all classes' pictures of that half, neither blurred nor darkened

by these rules, ours by `Classifier.correct` and the device's own answers:

    as exported       the trained head, and no correction
    closed form       no correction either, by the statistics alone; as soon as anything is taught,
                      they decide where the bundle says so (the table's second column)
    moved mean        the same, the corrected pictures counted into the mean of their class
    raw row           the mean of the corrected features as a second row of the trained head, as
                      long as its rows are on average
    drawn to all      a second mean, shrunk towards the mean of all classes, as taught classes are
    drawn to own      a second mean, shrunk towards the first one
    ours              the same, by the device: of the pictures as it keeps them, compressed, where
                      all other rules see them as they came

    python benchmarks/corrections.py --out benchmarks/results [--bases one,lite0] [--work DIR]

prints the table and writes corrections.json and .md, with processor and versions, of the bases of
`teaching_bases.py`. Runs are kept in --work and trained once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edgecil.data import ImageDataset
from edgecil_devices.teaching.head import Prototype, TaughtHead
from teaching_bases import (
    BASES,
    OLD,
    ROOM_BYTES,
    Answers,
    Device,
    Floats,
    Labels,
    Pictures,
    base_device,
    measure_bases,
    tested_on,
    unit,
)

COUNTS, DRAWS, CORRECTED = (1, 5, 20), (1, 2, 3), 10
BLUR_PX, BRIGHTNESS = 1.0, 0.35
PARTS = ("class", "others", "corrected", "as trained")

Rule = Callable[[Answers], Floats]
"""N pictures -> scores (N, C)."""


def darkened(pictures: Pictures) -> Pictures:
    """Pictures blurred, and with a part of their brightness."""
    blur = ImageFilter.GaussianBlur(BLUR_PX)
    blurred = np.stack([np.asarray(Image.fromarray(one).filter(blur)) for one in pictures])
    return (blurred * BRIGHTNESS).astype(np.uint8)


@dataclass(frozen=True)
class Scene:
    """Test pictures as they are corrected."""

    name: str
    pictures: Pictures
    seen: Answers
    """What the device makes of them."""
    truth: Labels
    as_trained: Answers
    """Of the same pictures, neither blurred nor darkened."""


def rivals(device: Device, corrected: Mapping[int, Answers]) -> dict[str, Rule]:
    """The other rules, where pictures of these classes were corrected."""
    known, (weight, bias) = device.known, device.head
    means, counts = known.means.copy(), known.counts.copy()
    for c, some in corrected.items():
        count = len(some.embedding)
        means[c] = (counts[c] * means[c] + some.embedding.sum(axis=0)) / (counts[c] + count)
        counts[c] += count
    length = np.linalg.norm(weight, axis=0).mean()
    raw = {c: length * unit(some.features.mean(axis=0)) for c, some in corrected.items()}
    features = {c: some.embedding.astype(np.float64) for c, some in corrected.items()}
    to_all = TaughtHead(known, [Prototype(some, None) for some in features.values()])
    to_own = TaughtHead(known, [Prototype(some, c) for c, some in features.items()])

    def closed_form(x: Answers, means: Floats, counts: Floats) -> Floats:
        rows, biases = known.linear(means, counts)
        return x.embedding @ rows.T + biases

    def raw_row(x: Answers) -> Floats:
        scores: Floats = x.features @ weight + bias
        for c, row in raw.items():
            scores[:, c] = np.maximum(scores[:, c], x.features @ row)
        return scores

    def drawn_to_all(x: Answers) -> Floats:
        found = to_all.logits(x.embedding, x.logits)
        scores, second = found[:, : len(means)], found[:, len(means) :]
        for c, one in zip(corrected, second.T, strict=True):
            scores[:, c] = np.maximum(scores[:, c], one)
        return scores

    return {
        "as exported": lambda x: x.logits.astype(np.float64),
        "closed form": lambda x: closed_form(x, known.means, known.counts),
        "moved mean": lambda x: closed_form(x, means, counts),
        "raw row": raw_row,
        "drawn to all": drawn_to_all,
        "drawn to own": lambda x: to_own.logits(x.embedding, x.logits),
    }


def corrected_answers(
    device: Device, scene: Scene, chosen: Mapping[int, Labels]
) -> dict[str, tuple[Labels, Labels]]:
    """By each rule the answers to all pictures of the scene, and to these as trained.

    Args:
        device: with the bundle.
        scene: whose pictures are corrected.
        chosen: places of the corrected pictures, by class.
    """
    pairs = (scene.seen, scene.as_trained)
    found = {
        name: tuple(rule(some).argmax(axis=1) for some in pairs)
        for name, rule in rivals(
            device, {c: scene.seen.of(places) for c, places in chosen.items()}
        ).items()
    }
    with device.taught() as (classifier, teacher):
        for c, places in chosen.items():
            shown = list(scene.pictures[places])
            classifier.correct(shown, device.classes[c], budget_bytes=ROOM_BYTES)
        found["ours"] = tuple(
            teacher.logits(some.embedding, some.logits)[0].argmax(axis=1) for some in pairs
        )
    return {name: (first, second) for name, (first, second) in found.items()}


def percents(
    device: Device, scene: Scene, kept: NDArray[np.bool_], chosen: Mapping[int, Labels]
) -> dict[str, list[float]]:
    """What every rule gets right, in the order of PARTS."""
    of_corrected = np.isin(scene.truth, list(chosen))
    places = np.concatenate(list(chosen.values()))
    found = {}
    for name, answers in corrected_answers(device, scene, chosen).items():
        right, as_trained = (some == scene.truth for some in answers)
        parts = (
            right[kept & of_corrected],
            right[kept & ~of_corrected],
            right[places],
            as_trained[kept],
        )
        found[name] = [100 * float(part.mean()) for part in parts]
    return found


def measured(device: Device, scene: Scene, draw: int) -> Iterator[dict[str, Any]]:
    """A row for each number of pictures, of classes, and each rule."""
    random = np.random.default_rng(draw)
    kept = np.zeros(len(scene.truth), np.bool_)
    for c in range(OLD):
        mine = random.permutation(np.flatnonzero(scene.truth == c))
        kept[mine[len(mine) // 2 :]] = True
    mistaken = ~kept & (scene.seen.logits.argmax(axis=1) != scene.truth)
    mistakes = np.bincount(scene.truth[mistaken], minlength=OLD)
    worst = [int(c) for c in np.argsort(-mistakes, kind="stable")[:CORRECTED]]
    of_class = {c: random.permutation(np.flatnonzero(mistaken & (scene.truth == c))) for c in worst}
    for count in COUNTS:
        chosen = {c: places[:count] for c, places in of_class.items()}
        single = [percents(device, scene, kept, {c: chosen[c]}) for c in worst]
        together = [percents(device, scene, kept, chosen)]
        pictures = mean(map(len, chosen.values()))
        for classes, found in ((1, single), (CORRECTED, together)):
            for rule in found[0]:
                means = [mean(some) for some in zip(*(one[rule] for one in found), strict=True)]
                yield {
                    "scene": scene.name,
                    "classes": classes,
                    "count": count,
                    "pictures": pictures,
                    "draw": draw,
                    "rule": rule,
                    **{part: round(one, 2) for part, one in zip(PARTS, means, strict=True)},
                }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: class / others / corrected / as trained, means over the draws."""
    counts = " | ".join(f"n = {count}" for count in COUNTS)
    yield f"| base | decides | pictures | classes corrected | rule | {counts} |"
    yield "|---" * (5 + len(COUNTS)) + "|"
    names = ("base", "rules", "scene", "classes", "rule")
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        cells = [str(cell) for cell in key]
        for count in COUNTS:
            same = [
                row
                for row in rows
                if tuple(row[name] for name in names) == key and row["count"] == count
            ]
            cells.append(" / ".join(f"{mean(row[part] for row in same):.1f}" for part in PARTS))
        yield f"| {' | '.join(cells)} |"


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    device, labels = base_device(base, work, dataset)
    facts = device.bundle.manifest.teaching
    assert facts is not None
    pictures, truth = tested_on(dataset, labels[:OLD])
    dark = darkened(pictures)
    plain = device.answers(pictures)
    scenes = (
        Scene("as trained", pictures, plain, truth, plain),
        Scene("dark", dark, device.answers(dark), truth, plain),
    )
    for scene in scenes:
        for draw in DRAWS:
            for found in measured(device, scene, draw):
                yield {"base": base, "rules": facts.rules} | found


ABOUT = (
    "Percent right of: test pictures of the corrected classes / of all other classes / the "
    "corrected pictures themselves / test pictures of all classes as they were trained on; n "
    f"pictures of each corrected class, means of {len(DRAWS)} draws. Made by "
    "`benchmarks/corrections.py`, which says what the rules are."
)

if __name__ == "__main__":
    measure_bases("corrections", BASES, rows_of, table, ABOUT)
