"""What a person asks for in a bundle, checked before anything is read."""

from dataclasses import dataclass, field
from pathlib import Path

from edgecil.errors import UsageError
from edgecil.training.request import DATA_DIR, require_known
from edgecil_devices.blobs import HEAD, NEAREST_MEAN
from edgecil_devices.manifest import COMPUTES, MAX_RELEASE, WEIGHTS, is_day
from edgecil_devices.options import option
from edgecil_devices.package import MAX_SIGNATURES_BYTES
from edgecil_devices.signing import SIGNATURE_BYTES

CLASSIFIERS = {"linear": HEAD, "nearest-mean": NEAREST_MEAN}
"""What `--classifier` takes, and the role of its blob."""

_MOST_SIGNATURES = MAX_SIGNATURES_BYTES // SIGNATURE_BYTES


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What a bundle is to be; one for one's own desk unless more is said."""

    weights: str | None = option(
        None,
        "Store weights as fp32, fp16 (half the bytes) or int8 (a quarter).",
        shown_default="as the run keeps them; int8 with --compute int8",
    )
    compute: str = option(
        "fp32",
        "fp32, or int8: faster on many processors; calibrated on exemplars or, where none are "
        "kept, on pictures that the run was trained on.",
    )
    max_loss_points: float = option(
        1.0,
        "In int8 compute: points of accuracy that may be lost, in percent.",
        flag="--max-loss",
    )
    force: bool = option(
        False, "In int8 compute: write it whatever accuracy is lost, which is told."
    )
    data_dir: Path | None = field(default=None, metadata=DATA_DIR)
    """With int8 and teachable only."""
    classifier: str = option(
        "linear", "linear: the trained head. nearest-mean: of the exemplars, as in iCaRL."
    )
    teachable: bool = option(
        False,
        "With what a device needs to be taught new classes and to say unknown: statistics of the "
        "exemplars, thresholds from test pictures.",
    )
    sign: tuple[Path, ...] = option(
        (),
        "Sign the release with this private key; with several, for devices that trust any of them.",
        metavar="KEY",
    )
    release: int | None = option(
        None,
        "Number of the release; devices take only higher ones.",
        shown_default="of a signed one, one above the last",
    )
    above: int | None = None
    """A release that devices have, which this one is to follow: it gets a number above that."""
    tells_unknown: bool = False
    """Whether devices have thresholds of the unknown, which a teachable bundle must then have."""
    lose_unknown: bool = False
    """Whether it may lack them all the same; `edgecil update` alone asks that."""
    kept: bool = True
    """Whether the bundle stays where it is written, so that its place is worth noting."""
    new_keys: Path | None = option(
        None,
        "Public keys that devices trust from this release on; see keys rotate.",
        metavar="PUB",
    )
    expires: str | None = option(
        None,
        "Day after which a device should have had a later release; status warns then.",
        metavar="YYYY-MM-DD",
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require_known("compute", self.compute, COMPUTES)
        if not 0 <= self.max_loss_points <= 100:
            raise UsageError(
                f"--max-loss is a number of points from 0 to 100, not {self.max_loss_points:g}"
            )
        if self.weights is not None:
            require_known("weights", self.weights, WEIGHTS)
        if self.compute == "int8" and self.weights not in (None, "int8"):
            raise UsageError("with --compute int8, weights are int8 too; leave out --weights")
        require_known("classifier", self.classifier, CLASSIFIERS)
        if len(self.sign) > _MOST_SIGNATURES:
            raise UsageError(
                f"a release has room for {_MOST_SIGNATURES} signatures; give fewer --sign than "
                f"{len(self.sign)}"
            )
        if self.release is not None and not 0 < self.release <= MAX_RELEASE:
            raise UsageError(f"--release is a number from 1 to {MAX_RELEASE}, not {self.release}")
        if self.expires is not None and not is_day(self.expires):
            raise UsageError(f"--expires is a day such as 2030-12-31, not {self.expires!r}")

    def stored_weights(self, kept: str) -> str:
        """How weights are stored.

        Args:
            kept: the precision in which the run's state keeps them; more bytes would say no more.
        """
        return self.weights or ("int8" if self.compute == "int8" else kept)


PLAIN = ExportRequest()
"""Nothing but the network."""
