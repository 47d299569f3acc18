"""What the table of built-in data sets holds of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecil.data.datasets import ImageDataset


@dataclass(frozen=True)
class EncodedSizes:
    """Mean bytes of an encoded picture."""

    image_size_px: int
    """Side of the pictures that were encoded."""
    lossless: float
    """In webp-lossless."""
    lossy: Mapping[str, Mapping[int, float]]
    """By codec ("webp", "jpeg"), then quality, ascending."""


@dataclass(frozen=True, kw_only=True)
class KnownData:
    """What is known of a data set without its files, for planning."""

    classes: tuple[str, ...]
    """Names that stand for those of the classes."""
    image_size_px: int
    """Side of the pictures."""
    shorter_side_px: int | None = None
    """What the test's shorter side is resized to before its middle is cut out; None for no more."""
    images_per_class: int
    """Training pictures of a class."""
    mean: tuple[float, float, float]
    """Of each channel, of pixels in [0, 1]."""
    std: tuple[float, float, float]
    """Likewise."""
    mirrors: bool = True
    """Whether a picture still shows its class in a mirror."""
    encoded: EncodedSizes
    """What such pictures take; those of another size take as much a pixel."""


@dataclass(frozen=True)
class BuiltIn:
    """A data set with a name."""

    name: str
    """What `--data` calls it."""
    load: Callable[[Path, int | None, int], ImageDataset]
    """From (data_dir, image_size_px, seed); what is not there is downloaded."""
    is_here: Callable[[Path], bool] = lambda _: True
    """Whether it lies in data_dir, or needs no download."""
    known: KnownData | None = None
    """What a plan says of it where it is not here; None where it always is."""
