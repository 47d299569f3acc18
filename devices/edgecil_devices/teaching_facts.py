"""What a manifest says for devices that are taught, and for those that may answer "unknown"."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from edgecil_devices._json import find, get, items, require
from edgecil_devices.errors import BundleVersionError

MOST_COUNT = 2**31
"""Pictures of a class."""
TRAINED_HEAD, CLOSED_FORM = "trained", "statistics"
"""What may decide among the release's classes once something was taught."""
OF_BLOCKS, OF_TRUNK = "blocks", "trunk"
"""What features the statistics may be of, and what is taught is told by."""


@dataclass(frozen=True)
class TeachingFacts:
    """How the blob `statistics` is to be read, and what is learned with it."""

    counts: tuple[int, ...]
    """Pictures behind the mean of each class."""
    mean_scale: float
    """What the means were divided by."""
    covariance_scale: float
    """What the directions of the covariance were divided by."""
    covariance_rest: float
    """The variance in all other directions."""
    shrinkage: float
    """How far the covariance is drawn towards a multiple of the identity, 0 to 1."""
    tau: float
    """How much taught classes weigh against the trained head, above 0, at most 10."""
    rules: str = TRAINED_HEAD
    """What decides among the release's classes once something was taught: the trained head, or the
    closed form of the statistics. Energies stay those of the trained head either way."""
    features: str = OF_BLOCKS
    """What the statistics are of: the head's features, or the means of the trunk's feature map. A
    trunk that comes pretrained has seen far more than the classes that blocks were made for."""

    def check(self, class_count: int) -> None:
        """Refuse what cannot be.

        Raises:
            BundleCorruptError: a number is out of its range.
            BundleVersionError: what decides is nothing this edgecil knows.
        """
        if self.rules not in (TRAINED_HEAD, CLOSED_FORM):
            raise BundleVersionError(f"unknown rules {self.rules!r}; install a newer edgecil")
        if self.features not in (OF_BLOCKS, OF_TRUNK):
            raise BundleVersionError(f"unknown features {self.features!r}; install a newer edgecil")
        require(len(self.counts) == class_count, "there must be a count for every class")
        require(all(0 < count < MOST_COUNT for count in self.counts), "impossible count")
        scales = (self.mean_scale, self.covariance_scale, self.covariance_rest)
        require(all(0 < scale < 1e30 for scale in scales), "impossible scale of the statistics")
        require(0 <= self.shrinkage <= 1 and 0 < self.tau <= 10, "impossible shrinkage or tau")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, which does not say what is usual."""
        usual = {"rules": TRAINED_HEAD, "features": OF_BLOCKS}.items()
        return dict(item for item in asdict(self).items() if item not in usual)

    @classmethod
    def from_dict(cls, record: dict[str, Any] | None) -> "TeachingFacts | None":
        """The reverse of `to_dict`; None where there is nothing."""
        if record is None:
            return None
        scales = {
            name: get(record, name, float)
            for name in ("mean_scale", "covariance_scale", "covariance_rest", "shrinkage", "tau")
        }
        counts = items(record, "counts", lambda held, key: get(held, key, int))
        rules, features = find(record, "rules", str), find(record, "features", str)
        return cls(
            counts,
            **scales,
            rules=TRAINED_HEAD if rules is None else rules,
            features=OF_BLOCKS if features is None else features,
        )


@dataclass(frozen=True)
class UnknownFacts:
    """How sure the head is of pictures that it was not trained on.

    The energy of a picture is the logarithm of the sum of the exponentials of its logits; what is
    unlike everything that was learned tends to have less.
    """

    energies: tuple[float, ...]
    """Of held-out pictures of known classes: quantiles at 0, 1, 2 ... 100 percent."""
    auroc: float
    """How well energy tells known pictures from others, 0.5 to 1 but for chance: the area under the
    curve, as the exporter estimates it."""
    pictures: int
    """How many were held out."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            BundleCorruptError: a number is out of its range.
        """
        rising = all(low <= high for low, high in pairwise(self.energies))
        require(len(self.energies) == 101 and rising, "energies must be 101 rising quantiles")
        require(0 <= self.auroc <= 1 and self.pictures > 0, "impossible measure of the unknown")

    def threshold(self, passing_percent: float) -> float:
        """The energy that so many percent of known pictures have at least, 0 to 100."""
        place = min(max(100 - passing_percent, 0), 100)
        low = min(math.floor(place), 99)
        share = place - low
        return (1 - share) * self.energies[low] + share * self.energies[low + 1]

    @classmethod
    def from_dict(cls, record: dict[str, Any] | None) -> "UnknownFacts | None":
        """The reverse of `asdict`; None where there is nothing."""
        if record is None:
            return None
        energies = items(record, "energies", lambda held, key: get(held, key, float))
        return cls(energies, get(record, "auroc", float), get(record, "pictures", int))
