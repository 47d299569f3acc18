"""What a person asks for in a bundle, checked before anything is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecil.errors import UsageError
from edgecil_devices.blobs import HEAD, NEAREST_MEAN
from edgecil_devices.manifest import COMPUTES, WEIGHTS

CLASSIFIERS = {"linear": HEAD, "nearest-mean": NEAREST_MEAN}
"""What `--classifier` takes, and the role of its blob."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What a bundle is to be; one for one's own desk unless more is said."""

    weights: str | None = None
    """How weights are stored, "fp32", "fp16" or "int8"; None: as they are computed with."""
    classifier: str = "linear"
    """"linear", the head that was trained, or "nearest-mean", the nearest mean of exemplars."""
    compute: str = "fp32"
    """What the graphs compute in, "fp32" or "int8"."""
    max_loss_points: float = 1.0
    """int8 only: how many points of percent of accuracy may be lost."""
    force: bool = False
    """int8 only: write the bundle whatever is lost."""
    data_dir: Path | None = None
    """int8 only: where built-in data sets are, as for training."""
    release: int | None = None
    """Its number; None: of a signed bundle, one above the last release of the run; else none."""
    sign: Path | None = None
    """The private key that signs it."""
    new_keys: Path | None = None
    """Public keys that devices are to trust from this release on."""
    expires: str | None = None
    """The day after which a device should have had a later release, as in "2027-06-30"."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _require_known("compute", self.compute, COMPUTES)
        if not 0 <= self.max_loss_points <= 100:
            raise UsageError(
                f"--max-loss is a number of points from 0 to 100, not {self.max_loss_points:g}"
            )
        _require_known("weights", self.stored_weights, WEIGHTS)
        if self.compute == "int8" and self.stored_weights != "int8":
            raise UsageError("with --compute int8, weights are int8 too; leave out --weights")
        _require_known("classifier", self.classifier, CLASSIFIERS)

    @property
    def stored_weights(self) -> str:
        """How weights are stored."""
        return self.compute if self.weights is None else self.weights


def _require_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; choose one of: {', '.join(known)}")


PLAIN = ExportRequest()
"""Nothing but the network."""
