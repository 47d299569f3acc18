"""A few views of each picture that are chosen once and shown again in every epoch.

What a frozen trunk makes of them can be computed once. The first view of a picture is what a test
sees, the second its mirror image, where it may be mirrored; then come crops as training draws them.

Shapes: V views, N images of the task, B places of a batch, S image size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecil.pictures.augmentation import PaddedCrops, ResizedCrops

Crops = PaddedCrops | ResizedCrops


@dataclass(frozen=True)
class Views:
    """View v of image i has the place v * N + i."""

    image_size_px: int
    """S."""
    labels: Tensor
    """(N,) int64 on the device."""
    crops: Crops
    """Of all places, (V * N)."""
    brightness: Tensor
    """Factors, (V * N, 1, 1, 1) on the CPU."""
    held: Callable[[Sequence[Tensor]], Iterator[tuple[Tensor, Tensor]]]
    """For the indices of each batch of images: pictures on the device, and where in these the batch
    is, as `crops` takes them."""

    def __len__(self) -> int:
        """V * N."""
        return len(self.brightness)

    def batches(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Pixels (B, 3, S, S) float32 of whole numbers for the places (B,) of each batch."""
        found = self.held([self.images_at(places) for places in batches])
        for places, (pictures, indices) in zip(batches, found, strict=True):
            pixels = self.crops.of(places).cut(pictures, indices)
            factors = self.brightness[places].to(pixels.device, non_blocking=True)
            yield (pixels * factors).clamp(max=255).round()

    def images_at(self, places: Tensor) -> Tensor:
        """The index of the image at each place, (B,)."""
        return places % len(self.labels)


def joined(parts: Sequence[Crops]) -> Crops:
    """Crops of one kind, one after another."""
    return type(parts[0])(*(torch.cat(values) for values in zip(*parts, strict=True)))
