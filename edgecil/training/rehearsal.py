"""Choosing what is rehearsed: herding, encoding, and filling the budget.

Shapes: N pictures, F features.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edgecil.memory.codecs import ImageCodec
from edgecil.memory.exemplar_sizes import published_quota
from edgecil.memory.exemplars import EncodedPictures, ExemplarSet
from edgecil.memory.herding import herd
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images, Pictures


def class_features(
    network: ExpandableNetwork, images: Images, indices: Tensor, batch_size: int = 256
) -> Tensor:
    """Concatenated features of the plain images at `indices` (n,) -> (n, F) float32 on the CPU."""
    network.eval()
    with torch.inference_mode():
        batches = images.plain_batches(batch_size, indices)
        features = [network.features(pixels).cpu() for pixels, _ in batches]
    return torch.cat(features)


class Candidates:
    """The pictures of one new class, best exemplar first, encoded no further than is needed.

    Args:
        pictures: the class's pictures.
        features: (N, F), their features.
        codec: how exemplars are encoded.
    """

    def __init__(self, pictures: Pictures, features: Tensor, codec: ImageCodec) -> None:
        self._pictures, self._codec = pictures, codec
        self._order = herd(features, len(pictures)).numpy()
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
        return len(self.payloads) == len(self._order)

    def encode_to(self, count: int) -> None:
        """Have the first `count` pictures, or all there are, encoded."""
        wanted = self._order[len(self.payloads) : count]
        if isinstance(self._pictures, EncodedPictures):
            # Encoding again what a lossy codec decoded would lose more than was trained on.
            self.payloads += [self._pictures.payloads[index] for index in wanted]
        elif len(wanted):
            self.payloads += self._codec.encode_many(self._pictures.pixels(wanted))


def filled(kept: ExemplarSet, candidates: Sequence[Candidates], capacity_bytes: int) -> ExemplarSet:
    """Old exemplars and new candidates, cut in herding order to fill `capacity_bytes`.

    Args:
        kept: the exemplars so far.
        candidates: one per new class.
        capacity_bytes: bound on the size of the exemplars' file.

    Raises:
        BudgetError: not even an empty set fits.
    """
    class_count = len(kept.payloads) + len(candidates)
    first_look = 8
    for candidate in candidates:
        candidate.encode_to(first_look)
    sizes = [len(payload) for candidate in candidates for payload in candidate.payloads]
    mean_bytes = max(1, sum(sizes) / max(1, len(sizes)))
    reach = first_look + math.ceil(1.25 * capacity_bytes / mean_bytes / class_count)
    while True:
        for candidate in candidates:
            candidate.encode_to(reach)
        exemplars = _with_all(kept, candidates).filled(capacity_bytes)
        new_counts = exemplars.counts[len(kept.payloads) :]
        pairs = zip(candidates, new_counts, strict=True)
        if all(c.exhausted or count < len(c.payloads) for c, count in pairs):
            return exemplars
        reach *= 2  # a class whose encoded pictures are all kept might give more


def _with_all(kept: ExemplarSet, candidates: Sequence[Candidates]) -> ExemplarSet:
    """Old exemplars, and all new candidates that are encoded."""
    payloads, aspects = zip(*((c.payloads, c.aspects) for c in candidates), strict=True)
    return kept.with_new_classes(payloads, aspects)


def by_quota(kept: ExemplarSet, candidates: Sequence[Candidates], memory: int) -> ExemplarSet:
    """The published rule: `memory` exemplars shared equally by all classes, rounded down."""
    quota = published_quota(memory, len(kept.payloads) + len(candidates))
    for candidate in candidates:
        candidate.encode_to(quota)
    everything = _with_all(kept, candidates)
    return everything.truncate([min(quota, count) for count in everything.counts])
