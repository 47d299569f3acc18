"""How large a file of exemplars is before it is written, and how many exemplars fill one.

`edgecil.memory.exemplars` says what the file holds.

Shapes: C classes, S image size.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgecil.budget import format_bytes
from edgecil.data.datasets import LARGEST_PADDED_CROP_PX
from edgecil.errors import BudgetError
from edgecil.memory.codecs import ImageCodec
from edgecil.memory.tensorfile import file_size

Ints = NDArray[np.int64]


def has_aspects(image_size_px: int) -> bool:
    """Whether exemplars of this size are whole pictures, whose aspects are kept beside them."""
    return image_size_px > LARGEST_PADDED_CROP_PX


def uniform_size(
    classes: int, images: int, image_bytes: int, codec: ImageCodec, image_size_px: int
) -> int:
    """The size in bytes of the file of `images` exemplars of `image_bytes` each, of any class."""
    return Size(
        fixed_length=codec.payload_bytes(image_size_px) is not None,
        shared_bytes=len(codec.shared_header(image_size_px)),
        with_aspects=has_aspects(image_size_px),
        classes=classes,
        images=images,
        payload_bytes=images * image_bytes,
        longest=image_bytes if images else 0,
    ).total_bytes()


def fill(
    lengths: Sequence[Ints], capacity_bytes: int, codec: ImageCodec, image_size_px: int
) -> Ints:
    """How many images of each class, in herding order, fill a file of `capacity_bytes`.

    Every class gets its r-th image before any gets its (r+1)-st; what classes with few images leave
    goes to the others. A class whose next image does not fit is complete, and the others go on
    until none has a next image that fits.

    Args:
        lengths: payload lengths of all images that may be kept, by class, in herding order.
        capacity_bytes: bound on the size of the whole file.
        codec: the codec of the images.
        image_size_px: S.

    Returns:
        The number of images to keep of each class, (C,).

    Raises:
        BudgetError: not even a file without images fits.
    """

    def up_to(rank: int) -> Size:
        return Size.of([row[:rank] for row in lengths], codec, image_size_px)

    if up_to(0).total_bytes() > capacity_bytes:
        raise BudgetError(
            f"{format_bytes(max(capacity_bytes, 0))} are left for exemplars, but without a single "
            f"image their file takes {format_bytes(up_to(0).total_bytes())}; raise --budget, or "
            "keep the weights in fewer bytes with --state-precision"
        )
    ranks = range(1, 1 + max((len(row) for row in lengths), default=0))
    rank = bisect_right(ranks, capacity_bytes, key=lambda rank: up_to(rank).total_bytes())

    # All images up to this rank fit, and those of the next do not all: a few decisions remain.
    size = up_to(rank)
    counts = np.array([min(len(row), rank) for row in lengths], np.int64)
    going_on = [label for label, row in enumerate(lengths) if len(row) > rank]
    while going_on:
        taken = []
        for label in going_on:
            larger = size.with_image(int(lengths[label][counts[label]]))
            if larger.total_bytes() <= capacity_bytes:
                size = larger
                counts[label] += 1
                taken.append(label)
        going_on = [label for label in taken if counts[label] < len(lengths[label])]
    return counts


@dataclass(frozen=True)
class Size:
    """All that the size of a file of exemplars depends on."""

    fixed_length: bool
    """Whether the codec gives all images the same length."""
    shared_bytes: int
    """Length of the codec's shared header."""
    with_aspects: bool
    """Whether aspects are kept."""
    classes: int
    """C, with and without images."""
    images: int
    """Images of all classes."""
    payload_bytes: int
    """Bytes of all images."""
    longest: int
    """Bytes of the longest one; 0 without any."""

    @classmethod
    def of(cls, lengths: Sequence[Ints], codec: ImageCodec, image_size_px: int) -> "Size":
        """Of images of these lengths, by class."""
        return cls(
            fixed_length=codec.payload_bytes(image_size_px) is not None,
            shared_bytes=len(codec.shared_header(image_size_px)),
            with_aspects=has_aspects(image_size_px),
            classes=len(lengths),
            images=sum(len(row) for row in lengths),
            payload_bytes=sum(int(row.sum()) for row in lengths),
            longest=max((int(row.max()) for row in lengths if len(row)), default=0),
        )

    def with_image(self, length: int) -> "Size":
        """The same with one more image, of any class."""
        return replace(
            self,
            images=self.images + 1,
            payload_bytes=self.payload_bytes + length,
            longest=max(self.longest, length),
        )

    def shapes(self) -> dict[str, tuple[DTypeLike, int]]:
        """Name -> (dtype, length) of the file's tensors, of which more images never make less."""
        shapes: dict[str, tuple[DTypeLike, int]] = {
            "counts": (np.uint32, self.classes),
            "payload": (np.uint8, self.payload_bytes),
        }
        if not self.fixed_length:
            shapes["lengths"] = (np.uint16 if self.longest < 1 << 16 else np.uint32, self.images)
        if self.shared_bytes:
            shapes["shared"] = (np.uint8, self.shared_bytes)
        if self.with_aspects:
            shapes["aspects"] = (np.float32, self.images)
        return shapes

    def total_bytes(self) -> int:
        """The size of the whole file."""
        return file_size(self.shapes())
