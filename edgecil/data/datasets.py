"""What every data set looks like to the rest of edgecil.

Letters in shapes: N pictures, S side of the square that the network sees, in pixels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecil.data.held_out import HeldOut
from edgecil.data.reading import seen, squeezed
from edgecil.workers import on_all_cores
from edgecil_devices.images import Pixels, Preprocessing

Indices: TypeAlias = npt.NDArray[np.integer] | Sequence[int]
Labels: TypeAlias = npt.NDArray[np.int64]
Aspects: TypeAlias = npt.NDArray[np.float32]

LARGEST_PADDED_CROP_PX = 64
"""Up to this size a training picture is its centre square, padded by an eighth and cropped. Larger
ones are whole pictures, squeezed into the square, and crops of them are resized."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel over ImageNet, of pixels in [0, 1]: the usual stand-in for other photos."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel over ImageNet, of pixels in [0, 1]."""


@dataclass(frozen=True)
class Split:
    """Pictures with labels, in memory or as files."""

    images: Pixels | tuple[Path, ...]
    """(N, S, S, 3) uint8, or N files that `pixels` reads."""
    labels: Labels
    """(N,) index into the data set's classes."""
    preprocessing: Preprocessing
    """How files become pixels."""
    aspects: Aspects | None = None
    """(N,) width over height of pictures that come whole, squeezed into the square; None where they
    come as the test sees them."""

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, indices: Indices | None = None) -> Pixels:
        """The pictures at `indices`, or all of them; files are read.

        Returns:
            (n, S, S, 3) uint8, in the order of `indices`.

        Raises:
            ImageError: a file can no longer be read.
        """
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        if isinstance(self.images, np.ndarray):
            return self.images if indices is None else self.images[chosen]
        size_px = self.preprocessing.image_size_px
        paths = [self.images[index] for index in chosen]
        result = np.empty((len(paths), size_px, size_px, 3), dtype=np.uint8)

        def read(position: int) -> None:
            one = seen if self.aspects is None else squeezed
            result[position] = one(paths[position], self.preprocessing)

        on_all_cores(read, range(len(paths)))
        return result

    def subset(self, indices: Indices) -> Self:
        """The pictures at `indices` alone, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        aspects = None if self.aspects is None else self.aspects[chosen]
        if isinstance(self.images, np.ndarray):
            images: Pixels | tuple[Path, ...] = self.images[chosen]
        else:
            images = tuple(self.images[index] for index in chosen)
        return type(self)(images, self.labels[chosen], self.preprocessing, aspects)


@dataclass(frozen=True)
class ImageDataset:
    """Pictures to learn from and pictures to test on, with the same classes."""

    name: str
    """The word or folder that it was asked for by."""
    classes: tuple[str, ...]
    """Names; a label is an index into them."""
    train: Split
    """Pictures to learn from."""
    test: Split
    """Pictures to test on, none of which is in `train`."""
    image_size_px: int
    """Side S of the square that the network sees."""
    mean: tuple[float, float, float]
    """Of each channel, of pixels in [0, 1]: what normalisation subtracts."""
    std: tuple[float, float, float]
    """Of each channel, of pixels in [0, 1]: what normalisation divides by."""
    fingerprint: str
    """Hex digest that changes when a picture, a label, a name or the size changes."""
    mirrors: bool = True
    """Whether a picture still shows its class in a mirror; a letter does not."""
    held_out: HeldOut | None = None
    """How test pictures were drawn; None where the data came with a test split."""
    learned: Mapping[str, int] = field(default_factory=dict)
    """Test pictures by class that a run had learned, as far as how it drew them tells."""
    unparted: tuple[str, ...] = ()
    """Classes that a run had parted otherwise: the last of their test pictures is gone, so how it
    drew them does not tell what it had learned."""
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    """sha256 of the files of `train` and `test`, by path; nothing for pictures in memory."""
    others: tuple[str, ...] = ()
    """Names of class folders that were not looked into, as they were not asked for."""


def fingerprint_of(classes: Sequence[str], *splits: Split, digests: Sequence[str] = ()) -> str:
    """Digest of class names, sizes, labels and pictures, as 64 hex digits.

    Args:
        classes: names in label order.
        splits: pictures in memory are digested themselves.
        digests: stand for the pictures of splits that hold files.
    """
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for split in splits:
        digest.update(repr((split.preprocessing.image_size_px, len(split))).encode())
        digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        if isinstance(split.images, np.ndarray):
            digest.update(np.ascontiguousarray(split.images).data)
    digest.update(repr(tuple(digests)).encode())
    return digest.hexdigest()
