"""Random crop, flip and brightness as batched operations on the training device.

Shapes: N images of the data set, B images of a batch, S image size, P padding.
All randomness comes from a generator on the CPU, so that a run is the same on every device.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.data.datasets import LARGEST_PADDED_CROP_PX

_LEAST_AREA, _WIDEST, _TRIES = 0.08, 4 / 3, 10
"""Of resized crops: the least part of the picture's area, and the aspect of the widest; the highest
have its inverse."""

BRIGHTNESS = 63 / 255
"""Relative change of brightness, as published for CIFAR-100."""


def padding_px(image_size_px: int) -> int:
    """Black pixels on each side before cropping: 4 for 32-pixel images, as published.

    None for images that are resized-cropped.
    """
    return image_size_px // 8 if image_size_px <= LARGEST_PADDED_CROP_PX else 0


class PaddedCrops(NamedTuple):
    """Random windows of S x S pixels of padded pictures, some of them mirrored; on the CPU."""

    rows: Tensor
    """(B, S) int64: the row of the padded picture that each row of the crop shows."""
    columns: Tensor
    """(B, S) int64, likewise."""

    @classmethod
    def draw(
        cls, count: int, image_size_px: int, mirrors: bool, generator: torch.Generator
    ) -> "PaddedCrops":
        """Windows for `count` pictures, half of them mirrored if `mirrors`."""
        slack = 2 * padding_px(image_size_px)
        top, left = torch.randint(0, slack + 1, (2, count, 1), generator=generator)
        mirrored = torch.rand(count, 1, generator=generator) < (0.5 if mirrors else 0)
        offsets = torch.arange(image_size_px)
        return cls(top + offsets, left + torch.where(mirrored, offsets.flip(0), offsets))

    @classmethod
    def of_test(cls, count: int, image_size_px: int, mirrored: bool) -> "PaddedCrops":
        """What a test sees of `count` pictures, or of all their mirror images."""
        offsets = padding_px(image_size_px) + torch.arange(image_size_px)
        columns = offsets.flip(0) if mirrored else offsets
        return cls(offsets.expand(count, -1), columns.expand(count, -1))

    def of(self, share: slice | Tensor) -> "PaddedCrops":
        """Those of a part of the batch."""
        return PaddedCrops(*(values[share] for values in self))

    def cut(self, padded: Tensor, indices: Tensor) -> Tensor:
        """The crops of the pictures at `indices`.

        One gather does both, straight from the data set: no copy of the batch is made in between.

        Args:
            padded: (N, S+2P, S+2P, 3) uint8, on any device.
            indices: (B,) int64, on the CPU.

        Returns:
            (B, 3, S, S) uint8 on the device of `padded`, channels last in memory.
        """
        index, rows, columns = (
            places.to(padded.device, non_blocking=True) for places in (indices, *self)
        )
        pixels = padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return pixels.permute(0, 3, 1, 2)


class ResizedCrops(NamedTuple):
    """Rectangles of pictures that are resized to S x S, some of them mirrored; on the CPU."""

    left: Tensor
    """(B,) float32, as a part of the picture's width."""
    top: Tensor
    """(B,) float32, as a part of its height."""
    width: Tensor
    """(B,) float32, above 0; left + width is at most 1."""
    height: Tensor
    """(B,) float32, likewise."""
    mirrored: Tensor
    """(B,) bool."""

    @classmethod
    def draw(cls, aspects: Tensor, mirrors: bool, generator: torch.Generator) -> "ResizedCrops":
        """Crops of a random area and shape at a random place, half of them mirrored if `mirrors`.

        The batched twin of torchvision's RandomResizedCrop, but for its rounding to whole pixels:
        0.08 to 1 of the picture's area, 3 to 4 up to 4 to 3 in shape. Of ten tries the first that
        fits counts; where none does, it is the largest crop in the middle of the nearest shape.

        Args:
            aspects: (B,) width over height of the pictures.
            mirrors: whether a picture still shows its class in a mirror.
            generator: on the CPU.
        """
        count = len(aspects)
        area, shape = torch.rand(2, _TRIES, count, generator=generator)
        x, y, flip = torch.rand(3, count, generator=generator)
        area = _LEAST_AREA + (1 - _LEAST_AREA) * area
        relative = torch.exp((2 * shape - 1) * math.log(_WIDEST)) / aspects
        width, height = (area * relative).sqrt(), (area / relative).sqrt()  # (10, B)
        fits = (width <= 1) & (height <= 1)
        first = fits.int().argmax(dim=0, keepdim=True)
        found = fits.any(dim=0)
        width = torch.where(found, width.gather(0, first)[0], (_WIDEST / aspects).clamp(max=1))
        height = torch.where(found, height.gather(0, first)[0], (_WIDEST * aspects).clamp(max=1))
        left, top = (torch.where(found, place, 0.5) for place in (x, y))
        mirrored = flip < (0.5 if mirrors else 0)
        return cls(left * (1 - width), top * (1 - height), width, height, mirrored)

    @classmethod
    def of_test(cls, aspects: Tensor, part: float, mirrored: bool = False) -> "ResizedCrops":
        """What a test sees of pictures of these aspects: `part` of the square in their middle."""
        width, height = part / aspects.clamp(min=1), part * aspects.clamp(max=1)
        all_or_none = torch.full_like(aspects, mirrored, dtype=torch.bool)
        return cls((1 - width) / 2, (1 - height) / 2, width, height, all_or_none)

    def of(self, share: slice | Tensor) -> "ResizedCrops":
        """Those of a part of the batch."""
        return ResizedCrops(*(values[share] for values in self))

    def cut(self, pictures: Tensor, indices: Tensor) -> Tensor:
        """The rectangles of the pictures at `indices`, resized.

        Nothing is averaged: a rectangle never has more pixels than the result.

        Args:
            pictures: (N, S, S, 3) uint8, on any device; whole pictures, squeezed into the square.
            indices: (B,) int64, on the CPU.

        Returns:
            (B, 3, S, S) float32 in 0..255 on the device of `pictures`.
        """
        size, device = pictures.shape[1], pictures.device
        middles = (torch.arange(size) + 0.5) / size
        across = torch.where(self.mirrored[:, None], middles.flip(0), middles)
        x = self.left[:, None] + self.width[:, None] * across  # (B, S)
        y = self.top[:, None] + self.height[:, None] * middles
        index, x, y = (places.to(device, non_blocking=True) for places in (indices, x, y))
        pixels = pictures[index].permute(0, 3, 1, 2).float()
        shape = (len(indices), size, size)
        places = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
        return F.grid_sample(pixels, 2 * places - 1, padding_mode="border", align_corners=False)


def seen_in_test(pictures: Tensor, aspects: Tensor, shorter_side_px: int | None) -> Tensor:
    """What a test sees of whole pictures, squeezed into the square.

    Args:
        pictures: (B, S, S, 3) uint8, on any device.
        aspects: (B,) float32, on the CPU: width over height before they were squeezed.
        shorter_side_px: the test's margin, see `Preprocessing`; None for none.

    Returns:
        (B, 3, S, S) uint8 on the same device.
    """
    part = pictures.shape[1] / shorter_side_px if shorter_side_px else 1.0
    seen = ResizedCrops.of_test(aspects, part).cut(pictures, torch.arange(len(pictures)))
    return seen.round().to(torch.uint8)


def brightness(count: int, generator: torch.Generator) -> Tensor:
    """Random factors for `count` pictures, (count, 1, 1, 1) on the CPU."""
    return 1 + BRIGHTNESS * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)


def brightened(pixels: Tensor, factors: Tensor) -> Tensor:
    """Pixels (B, 3, S, S) in 0..255 times factors (B, 1, 1, 1), clipped; float32."""
    return (pixels * factors.to(pixels.device, non_blocking=True)).clamp(max=255)
