"""Pictures that may be rehearsed: herded, encoded no further than needed, and cut to what fits.

Shapes: N pictures, F features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edgecil.memory.codecs import ImageCodec
from edgecil.memory.exemplars import EncodedPictures, ExemplarSet, encoded
from edgecil.memory.herding import herd
from edgecil.pictures.sequences import Pictures
from edgecil.work import work


class Candidates:
    """The pictures of one new class, best exemplar first, herded and encoded as far as is needed.

    Args:
        pictures: the class's pictures.
        features: (N, F), their features.
        codec: how exemplars are encoded.
    """

    def __init__(self, pictures: Pictures, features: Tensor, codec: ImageCodec) -> None:
        self._pictures, self._features, self._codec = pictures, features, codec
        self._order = np.empty(0, np.int64)
        self.payloads: list[bytes] = []

    @property
    def aspects(self) -> list[float]:
        """Width over height of the pictures that are encoded; 1 for squares."""
        if self._pictures.aspects is None:
            return [1.0] * len(self.payloads)
        known: list[float] = self._pictures.aspects[self._order[: len(self.payloads)]].tolist()
        return known

    @property
    def exhausted(self) -> bool:
        """Whether every picture is encoded."""
        return len(self.payloads) == len(self._pictures)

    def encode_to(self, count: int) -> None:
        """Have the first `count` pictures, or all there are, chosen and encoded.

        Each choice takes a pass over all features. A longer one begins with the shorter one.

        Raises:
            TrainingError: a feature is not a finite number.
        """
        if len(self._order) < min(count, len(self._pictures)):
            self._order = herd(self._features, count).numpy()
        wanted = self._order[len(self.payloads) : count]
        if isinstance(self._pictures, EncodedPictures):
            # Encoding again what a lossy codec decoded would lose more than was trained on.
            self.payloads += [self._pictures.payloads[index] for index in wanted]
        elif len(wanted):
            self.payloads += encoded(self._pictures, self._codec, wanted)


@dataclass(frozen=True)
class Offer:
    """All that may be rehearsed after a task; what is chosen is first in herding order."""

    kept: ExemplarSet
    """The exemplars so far."""
    candidates: Sequence[Candidates]
    """One per new class."""

    @property
    def class_count(self) -> int:
        """Classes, old and new."""
        return len(self.kept.payloads) + len(self.candidates)

    def _encode_to(self, count: int) -> None:
        """Have the first `count` pictures of each new class chosen and encoded."""
        with work("choosing exemplars", len(self.candidates)) as done:
            for candidate in self.candidates:
                candidate.encode_to(count)
                done(1)

    def _encoded(self) -> ExemplarSet:
        """Old exemplars, and all new candidates that are encoded."""
        pairs = ((c.payloads, c.aspects) for c in self.candidates)
        return self.kept.with_new_classes(*zip(*pairs, strict=True))

    def by_quota(self, quota: int) -> ExemplarSet:
        """The first `quota` of each class, or all there are."""
        self._encode_to(quota)
        everything = self._encoded()
        return everything.truncate([min(quota, count) for count in everything.counts])

    def filling(self, capacity_bytes: int) -> ExemplarSet:
        """As many as fill a file of `capacity_bytes`.

        Raises:
            BudgetError: not even an empty set fits.
        """
        first_look = 8
        self._encode_to(first_look)
        sizes = [len(payload) for candidate in self.candidates for payload in candidate.payloads]
        mean_bytes = max(1, sum(sizes) / max(1, len(sizes)))
        reach = first_look + math.ceil(1.25 * capacity_bytes / mean_bytes / self.class_count)
        while True:
            self._encode_to(reach)
            exemplars = self._encoded().filled(capacity_bytes)
            new_counts = exemplars.counts[len(self.kept.payloads) :]
            pairs = zip(self.candidates, new_counts, strict=True)
            if all(c.exhausted or count < len(c.payloads) for c, count in pairs):
                return exemplars
            reach *= 2  # a class whose encoded pictures are all kept might give more
