"""Teaching a classifier on the device, and putting what was taught into its answers.

Labels are told apart by what the release knows now, not when they were taught: a new class that a
later release has learned under the same name leaves the answers by itself, and is back after a
rollback; a correction of a class that an earlier release does not have counts as a new class there.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices.class_names import composed, fault_of
from edgecil_devices.errors import UsageError
from edgecil_devices.teaching.features import Features, TaughtFeatures, feature_bytes
from edgecil_devices.teaching.head import (
    KnownClasses,
    Prototype,
    TaughtHead,
    left_out_recognised,
    taken_from,
)
from edgecil_devices.teaching.overlay import Added, NewPicture, Overlay
from edgecil_devices.teaching.records import TaughtPicture, TaughtRecords
from edgecil_devices.teaching.room import size_bytes

Pixels = NDArray[np.uint8]

MOST_CLASSES = 200
"""Classes that can be taught beside a release."""


class TaughtClass(NamedTuple):
    """What was taught with one label."""

    label: str
    pictures: int
    """How many count."""
    kind: str
    """"new", "correction" of a class of the release, or "retired": the release knows it now."""
    recognised: float | None
    """The part of its pictures that is recognised when each is left out; None where that says
    nothing: of one picture, a correction, or a retired class."""
    takes_from: tuple[str, float] | None
    """The release's class that suffers most from it, and the part of that class's pictures that
    will be taken for this one, estimated; None where it is no new class."""


@dataclass(frozen=True)
class _Taught:
    """Everything that an answer needs, of one version of the records."""

    head: TaughtHead | None
    """None where nothing that was taught counts."""
    labels: tuple[str, ...]
    """Of the new classes, in the order of the head's logits behind the release's."""


_NOTHING = _Taught(None, ())


class Teacher:
    """What was taught beside one release.

    Args:
        overlay: where it is kept.
        classes: of the release.
        known: of the release's classes.
        features: of taught pictures, by the release's network.
    """

    def __init__(
        self,
        overlay: Overlay,
        classes: Sequence[str],
        known: KnownClasses,
        features: TaughtFeatures,
    ) -> None:
        self.overlay = overlay
        self._names = tuple(classes)
        self._classes = {composed(name): index for index, name in enumerate(classes)}
        self._known, self._features = known, features
        self._version: object = ()
        self._taught = _NOTHING

    def prepare(self) -> None:
        """Compute the features of what is taught, which the first answer else waits for.

        Raises:
            StoreDamagedError: the list of it is altered.
        """
        self._current()

    @property
    def labels(self) -> tuple[str, ...]:
        """The taught labels that answers may have beside the release's."""
        return self._current().labels

    @property
    def problems(self) -> list[str]:
        """Taught pictures that cannot be read any more, a line each."""
        return list(self._features.problems)

    def logits(
        self, features: NDArray[np.float32], trained: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """The logits (N, C + T) of the release's classes and of T taught ones, and their labels.

        Args:
            features: (N, F).
            trained: (N, C), what the release's head says.
        """
        taught = self._current()
        if taught.head is None:
            return trained, ()
        return taught.head.logits(features, trained).astype(np.float32), taught.labels

    def require_label(self, label: str, *, correction: bool) -> str:
        """The label as it is kept.

        Raises:
            UsageError: it cannot be a label, or is not of the kind that was meant.
        """
        label = composed(label.strip())
        if fault := fault_of(label):
            raise UsageError(f"{label!r} cannot be a label: {fault}")
        known = label in self._classes
        if known and not correction:
            raise UsageError(
                f"the release knows {label!r} already; to teach it what it got wrong, correct it "
                "(--correct), or give another label"
            )
        labels = self.labels
        if correction and not known and label not in labels:
            raise UsageError(
                f"nothing here is called {label!r} that could be corrected; teach it as a new class"
            )
        if not known and label not in labels and len(labels) >= MOST_CLASSES:
            raise UsageError(
                f"{MOST_CLASSES} classes are taught here, which is all there is room for; "
                "take them to the workstation: edgecil taught export"
            )
        return label

    def teach(
        self,
        label: str,
        pictures: Sequence[tuple[Pixels, str]],
        budget_bytes: int | None = None,
    ) -> Added:
        """Teach pictures of one label: all, or where there is no room none.

        Args:
            label: what they show, as `require_label` gives it.
            pictures: (S, S, 3) uint8 as the network sees them, and where each came from.
            budget_bytes: a new bound on what the overlay takes; None leaves it.

        Raises:
            UsageError: the pictures are above the budget.
            StoreError: the overlay is busy, damaged or cannot be written.
        """
        new = [NewPicture(encoded(pixels), source) for pixels, source in pictures]
        return self.overlay.add(
            new,
            label,
            correction=label in self._classes,
            useless=self._useless,
            feature_bytes=self._feature_bytes,
            budget_bytes=budget_bytes,
        )

    def summary(self) -> list[TaughtClass]:
        """What is taught, label by label, in the order of teaching.

        Raises:
            StoreDamagedError: the list of it is altered.
        """
        records = self.overlay.records()
        features = self._features.of(records.present, records.present)
        by_label = {label: _stacked(features, records.of_label(label)) for label in records.labels}
        found = []
        for label, mine in by_label.items():
            kind = self._kind(records, label)
            recognised, takes_from = None, None
            if kind == "new" and len(mine):
                takes_from = self._takes_from(mine)
            if kind == "new" and len(mine) > 1:
                others = [
                    rows
                    for other, rows in by_label.items()
                    if other != label and len(rows) and self._kind(records, other) == "new"
                ]
                recognised = left_out_recognised(self._known, mine, others)
            found.append(TaughtClass(label, len(mine), kind, recognised, takes_from))
        return found

    def _takes_from(self, mine: NDArray[np.float64]) -> tuple[str, float]:
        taken = taken_from(self._known, mine)
        most = int(np.argmax(taken))
        return self._names[most], float(taken[most])

    @property
    def size_bytes(self) -> int:
        """What all that is taught takes of its budget.

        Raises:
            StoreDamagedError: the list of it is altered.
        """
        return size_bytes(self.overlay.records(), self._feature_bytes)

    @property
    def _feature_bytes(self) -> int:
        return feature_bytes(int(self._known.means.shape[1]))

    def _kind(self, records: TaughtRecords, label: str) -> str:
        if label not in self._classes:
            return "new"
        pictures = records.of_label(label)
        return "correction" if any(one.correction for one in pictures) else "retired"

    def _counts(self, one: TaughtPicture) -> bool:
        """Whether a picture has a say in this release's answers."""
        return one.correction or one.label not in self._classes

    def _current(self) -> _Taught:
        """What counts now; read anew where somebody has taught since."""
        version = self.overlay.version()
        if version != self._version:
            self._taught = self._read() if version else _NOTHING
            self._version = version
        return self._taught

    def _read(self) -> _Taught:
        present = self.overlay.records().present
        counting = [one for one in present if self._counts(one)]
        features = self._features.of(counting, present)
        prototypes: dict[str, Prototype] = {}
        for label in dict.fromkeys(one.label for one in counting):
            mine = _stacked(features, [one for one in counting if one.label == label])
            if len(mine):
                prototypes[label] = Prototype(mine, self._classes.get(label))
        if not prototypes:
            return _NOTHING
        labels = tuple(label for label, one in prototypes.items() if one.corrects is None)
        head = TaughtHead(self._known, list(prototypes.values()))
        return _Taught(head, labels)

    def _useless(self, pictures: Sequence[TaughtPicture]) -> Iterator[TaughtPicture]:
        """Retired pictures, then those nearest to the mean of whichever label has most."""
        counting = [one for one in pictures if self._counts(one)]
        yield from (one for one in pictures if not self._counts(one))
        features = self._features.of(counting, pictures)
        left: dict[str, list[TaughtPicture]] = {}
        for one in counting:
            left.setdefault(one.label, []).append(one)
        while any(left.values()):
            most = max(left.values(), key=len)
            rows = [features.get(one.sha256) for one in most]
            sound = [row for row in rows if row is not None]
            mean = np.mean(sound, axis=0) if sound else np.zeros(1)
            away = [-1.0 if row is None else float(np.linalg.norm(row - mean)) for row in rows]
            yield most.pop(int(np.argmin(away)))


def encoded(pixels: Pixels) -> bytes:
    """A picture (S, S, 3) as it is kept: JPEG with its colours in full.

    What a codec does to all pictures of a taught class and to none of the others moves its mean:
    as WebP of quality 90, a third as large, 38 instead of 59 % of new classes were found
    (`benchmarks/teaching.py`, base slda).
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def _stacked(
    features: dict[str, Features], pictures: Sequence[TaughtPicture]
) -> NDArray[np.float64]:
    """The features (n, F) of pictures, those that cannot be read left out."""
    rows = [features[one.sha256] for one in pictures if one.sha256 in features]
    return np.array(rows, np.float64).reshape(len(rows), -1)
