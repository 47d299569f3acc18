"""Which pictures of a folder without a test folder are kept for the test, now and later.

A picture's place is the hash of the seed and its bytes, whatever its name. When a class is first
seen, the pictures with the lowest places are its test, as many as `holdout` asks for; the last of
them is the class's cut. From then on a picture is the test's where its place is not above the cut.
So pictures that are added later go to either side, and those that are there stay on theirs: what
was learned is never tested on.

A file that is rewritten gets another place. A cut is the place of one picture, so where a class has
none there any more, its files are not those that were parted, or not all of them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgecil.errors import UsageError

PLACE_DIGITS = 12
"""Hexadecimal digits of a place that are kept: two of 100,000 pictures share one with a chance of
two in 100,000."""


def require_share(holdout: float) -> None:
    """Check what part of its pictures a class keeps for the test.

    Raises:
        UsageError: it is none, more than all, or no number.
    """
    if not 0 < holdout <= 1:
        raise UsageError(f"a holdout of {holdout:g} is not possible; give a share like 0.2")


def place_of(digest: str, seed: int) -> str:
    """Where a picture stands in its class: a hash in 64 hexadecimal digits.

    Args:
        digest: sha256 of the file, in hexadecimal digits.
        seed: of the run.
    """
    return hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()


@dataclass(frozen=True)
class HeldOut:
    """How pictures were kept for the test."""

    seed: int
    """It orders the pictures of a class."""
    cuts: Mapping[str, str] = field(default_factory=dict)
    """The place of the last test picture by class, `PLACE_DIGITS` digits."""

    def is_test(self, class_name: str, digest: str) -> bool:
        """Whether a picture of a class that has a cut is the test's."""
        return place_of(digest, self.seed)[:PLACE_DIGITS] <= self.cuts[class_name]

    def parted(self, class_name: str, digests: Iterable[str]) -> bool:
        """Whether the last test picture of a class that has a cut is still among these."""
        places = (place_of(digest, self.seed)[:PLACE_DIGITS] for digest in digests)
        return self.cuts[class_name] in places

    def with_class(self, class_name: str, digests: Iterable[str], holdout: float) -> "HeldOut":
        """The same with the cut of one more class, or as it is where the class has one.

        Args:
            class_name: the class.
            digests: of its pictures, at least one.
            holdout: share of them that is the test's; at least one picture is, and unless the
                share is 1 not the last of several.
        """
        if class_name in self.cuts:
            return self
        places = sorted(place_of(digest, self.seed) for digest in digests)
        most = len(places) - (holdout < 1)
        last = places[max(1, min(most, round(holdout * len(places)))) - 1]
        return HeldOut(self.seed, {**self.cuts, class_name: last[:PLACE_DIGITS]})
