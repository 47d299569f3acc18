"""Random crop, flip and brightness as batched operations on the training device.

Shapes: N images of the data set, B images of a batch, S image size, P padding.
All randomness comes from a generator on the CPU, so that a run is the same on every device.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_PADDED_CROP_PX = 64
"""Up to this size images are padded by an eighth and cropped; larger ones are resized-cropped."""

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

    def of(self, share: slice) -> "PaddedCrops":
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
    def draw(cls, count: int, mirrors: bool, generator: torch.Generator) -> "ResizedCrops":
        """Scale 0.08 to 1, aspect 3/4 to 4/3, half mirrored if `mirrors`.

        The batched twin of torchvision's RandomResizedCrop.
        """
        area, aspect, flip, x, y = torch.rand(5, count, generator=generator)
        scale = (0.08 + 0.92 * area).sqrt()
        stretch = torch.exp((aspect * 2 - 1) * math.log(4 / 3) / 2)
        width, height = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
        mirrored = flip < (0.5 if mirrors else 0)
        return cls(x * (1 - width), y * (1 - height), width, height, mirrored)

    def of(self, share: slice) -> "ResizedCrops":
        """Those of a part of the batch."""
        return ResizedCrops(*(values[share] for values in self))

    def cut(self, pictures: Tensor, indices: Tensor) -> Tensor:
        """The rectangles of the pictures at `indices`, resized.

        Nothing is averaged: a rectangle never has more pixels than the result.

        Args:
            pictures: (N, S, S, 3) uint8, on any device.
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


def brightness(count: int, generator: torch.Generator) -> Tensor:
    """Random factors for `count` pictures, (count, 1, 1, 1) on the CPU."""
    return 1 + BRIGHTNESS * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)


def brightened(pixels: Tensor, factors: Tensor) -> Tensor:
    """Pixels (B, 3, S, S) in 0..255 times factors (B, 1, 1, 1), clipped; float32."""
    return (pixels * factors.to(pixels.device, non_blocking=True)).clamp(max=255)
