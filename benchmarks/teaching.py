"""Claim: a device is taught new classes from a few pictures, beside those that it was trained on.

30 classes of CIFAR-100 that a bundle knows and 10 that the device is taught with 5, 20 and 50
pictures each; all test pictures of these classes; three draws of the pictures. Everything but the
training is the device's own code on an exported bundle. Accuracy in percent over old, new and all
test pictures, of the rules

    as exported   the trained head, which knows none of the new classes
    imprint       a new row is the class's mean, as long as the old rows are on average
    nearest mean  cosine to the nearest of all means, the old ones from exemplars (SimpleCIL)
    slda          one covariance and means as they come, shrunk by 1e-4 (Hayes and Kanan, 2020)
    pycoral       unit features, a new row is their mean of unit length, old rows scaled to unit
                  length (weight imprinting of google-coral/pycoral)
    ours          `Classifier.teach`
    ours, as seen the same of pictures that no codec has touched; the device keeps them as JPEG, and
                  computes features from that

of the bases of `teaching_bases.py`. Those but slda were measured while the device kept pictures as
WebP of quality 90, by which ours found 31.2, 38.4 and 40.4 % of the new classes beside slda.

    python benchmarks/teaching.py --out benchmarks/results [--bases one,lite0] [--work DIR]

prints the table and writes teaching.json and .md, with processor and versions. Runs are kept in
--work and trained once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgecil.data import ImageDataset
from edgecil_devices.teaching.head import Prototype, TaughtHead
from teaching_bases import (
    BASES,
    OLD,
    Answers,
    Device,
    Floats,
    Labels,
    accuracies,
    base_device,
    drawn,
    logits_once_taught,
    measure_bases,
    table_of_accuracies,
    tested_on,
    unit,
)

COUNTS, DRAWS = (5, 20, 50), (1, 2, 3)

Rule = Callable[[Answers], Floats]
"""N pictures -> scores (N, C) of old and new classes."""


def rivals(device: Device, taught: list[Answers]) -> dict[str, Rule]:
    """The other rules, fitted to the pictures of each taught class.

    Those that add rows to the trained head see the features that it takes, the others what the
    bundle is taught by, as ours does.
    """
    weight, bias = device.head  # (F, C), (C,)
    known, size = device.known, taught[0].embedding.shape[1]
    means = np.concatenate([known.means, [one.embedding.mean(axis=0) for one in taught]])
    factors = known.covariance.factors
    covariance = factors.T @ factors + known.covariance.rest * np.eye(size)
    rows = np.linalg.solve((1 - 1e-4) * covariance + 1e-4 * np.eye(size), means.T)
    offsets = -np.sum(rows * means.T, axis=0) / 2
    imprinted = unit(np.stack([one.features.mean(axis=0) for one in taught])).T
    of_units = unit(np.stack([unit(one.features).mean(axis=0) for one in taught])).T
    length = np.linalg.norm(weight, axis=0).mean()

    def trained(x: Answers) -> Floats:
        return x.features @ weight + bias

    return {
        "as exported": lambda x: np.pad(
            trained(x), ((0, 0), (0, len(taught))), constant_values=-np.inf
        ),
        "imprint": lambda x: np.concatenate(
            [trained(x), x.features @ (length * imprinted)], axis=1
        ),
        "nearest mean": lambda x: unit(x.embedding) @ unit(means).T,
        "slda": lambda x: x.embedding @ rows + offsets,
        "pycoral": lambda x: (
            unit(x.features) @ np.concatenate([unit(weight.T).T, of_units], axis=1)
        ),
    }


def measured(
    base: str, device: Device, dataset: ImageDataset, labels: Labels
) -> Iterator[dict[str, Any]]:
    """A row for each number of pictures, draw and rule."""
    pictures, truth = tested_on(dataset, labels)
    seen = device.answers(pictures)
    for count in COUNTS:
        for draw in DRAWS:
            random = np.random.default_rng(draw)
            shown = {dataset.classes[c]: drawn(dataset, c, count, random) for c in labels[OLD:]}
            taught = [device.answers(some) for some in shown.values()]
            found: dict[str, Any] = {
                name: rule(seen) for name, rule in rivals(device, taught).items()
            }
            (found["ours"],) = logits_once_taught(device, shown, seen)
            as_seen = [Prototype(one.embedding.astype(np.float64), None) for one in taught]
            head = TaughtHead(device.known, as_seen)
            found["ours, as seen"] = head.logits(seen.embedding, seen.logits)
            for rule, scores in found.items():
                right = accuracies(scores.argmax(axis=1), truth, OLD)
                yield {"base": base, "count": count, "draw": draw, "rule": rule} | right


def rows_of(base: str, work: Path, dataset: ImageDataset) -> Iterator[dict[str, Any]]:
    """Train a base and measure it."""
    device, labels = base_device(base, work, dataset)
    yield from measured(base, device, dataset, labels)


ABOUT = (
    f"Accuracy in percent over old / new / all test pictures, {len(DRAWS)} draws. Ours beside "
    "bases other than slda is of a device that kept pictures as WebP."
)

if __name__ == "__main__":
    measure_bases("teaching", BASES, rows_of, table_of_accuracies, ABOUT)
