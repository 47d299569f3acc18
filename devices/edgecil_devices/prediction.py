"""What a classifier says about a picture."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Candidate(NamedTuple):
    """One class a picture may belong to."""

    label: str
    score: float
    """Softmax probability, 0 to 1."""

    @property
    def taught(self) -> bool:
        """Whether it was taught on this device, and is no class of the release."""
        return False

    def record(self) -> dict[str, Any]:
        """The JSON form, which says `taught` only where that is so."""
        return self._asdict() | ({"taught": True} if self.taught else {})


class TaughtCandidate(Candidate):
    """A class that was taught on this device."""

    @property
    def taught(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True)
class Timing:
    """Where the time for one picture went, in milliseconds."""

    preprocess: float
    """Reading, decoding and resizing."""
    trunk: float
    blocks: float
    head: float

    @property
    def total(self) -> float:
        """From the picture to its label."""
        return self.preprocess + self.trunk + self.blocks + self.head


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about one picture."""

    label: str
    """The most probable class."""
    score: float
    """Its softmax probability, 0 to 1."""
    top: tuple[Candidate, ...]
    """The most probable classes, best first; the first is `label`."""
    timing_ms: Timing
    """Where the time went."""
    energy: float = math.inf
    """The logarithm of the sum of the exponentials of the release's logits: how much this is like
    any of its classes, on a scale of the network's own; see `Manifest.unknown`."""

    @property
    def taught(self) -> bool:
        """Whether the most probable class was taught on this device."""
        return self.top[0].taught


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (..., C) from logits (..., C)."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
