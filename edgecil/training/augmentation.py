"""Random crop, flip and brightness as batched operations on the training device.

Shapes: N images of the data set, B images of a batch, S image size, P padding.
All randomness comes from a generator on the CPU, so that a run is the same on every device.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_PADDED_CROP_PX = 64
"""Up to this size images are padded by an eighth and cropped; larger ones are resized-cropped."""

BRIGHTNESS = 63 / 255
"""Relative change of brightness, as published for CIFAR-100."""


def padding_px(image_size_px: int) -> int:
    """Black pixels on each side before cropping: 4 for 32-pixel images, as published."""
    return image_size_px // 8


def cropped_and_flipped(
    padded: Tensor, image_size_px: int, indices: Tensor, mirrors: bool, generator: torch.Generator
) -> Tensor:
    """Random crops of the images at `indices`, half of them mirrored if `mirrors`.

    One gather does both, straight from the data set: no copy of the batch is made in between.

    Args:
        padded: (N, S+2P, S+2P, 3) uint8, on any device.
        image_size_px: S.
        indices: (B,) int64, on the CPU.
        mirrors: whether a picture still shows its class in a mirror.
        generator: on the CPU.

    Returns:
        (B, 3, S, S) uint8 on the device of `padded`, channels last in memory.
    """
    batch, slack = len(indices), padded.shape[1] - image_size_px
    top, left = torch.randint(0, slack + 1, (2, batch, 1), generator=generator)
    mirrored = torch.rand(batch, 1, generator=generator) < (0.5 if mirrors else 0)
    offsets = torch.arange(image_size_px)
    rows = top + offsets  # (B, S)
    columns = left + torch.where(mirrored, offsets.flip(0), offsets)  # (B, S)
    where = [index.to(padded.device, non_blocking=True) for index in (indices, rows, columns)]
    pixels = padded[where[0][:, None, None], where[1][:, :, None], where[2][:, None, :]]
    return pixels.permute(0, 3, 1, 2)


def resized_crops(pixels: Tensor, mirrors: bool, generator: torch.Generator) -> Tensor:
    """Random resized crops, scale 0.08 to 1, aspect 3/4 to 4/3, half mirrored if `mirrors`.

    The batched twin of torchvision's RandomResizedCrop, for larger images that lie on the device.

    Args:
        pixels: (B, 3, S, S) uint8.
        mirrors: whether a picture still shows its class in a mirror.
        generator: on the CPU.

    Returns:
        (B, 3, S, S) float32 in 0..255.
    """
    batch = len(pixels)
    area, aspect, flip, x, y = torch.rand(5, batch, generator=generator)
    scale = (0.08 + 0.92 * area).sqrt()
    stretch = torch.exp((aspect * 2 - 1) * math.log(4 / 3) / 2)
    width, height = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = torch.where(flip < (0.5 if mirrors else 0), -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (x * 2 - 1) * (1 - width)
    theta[:, 1, 2] = (y * 2 - 1) * (1 - height)
    theta = theta.to(pixels.device, non_blocking=True)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)


def brightness(count: int, generator: torch.Generator) -> Tensor:
    """Random factors for `count` pictures, (count, 1, 1, 1) on the CPU."""
    return 1 + BRIGHTNESS * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)


def brightened(pixels: Tensor, factors: Tensor) -> Tensor:
    """Pixels (B, 3, S, S) in 0..255 times factors (B, 1, 1, 1), clipped; float32."""
    return (pixels * factors.to(pixels.device, non_blocking=True)).clamp(max=255)
