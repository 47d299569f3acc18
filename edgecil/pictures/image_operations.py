"""The operations of augmentation policies, on a batch at a time, each picture with its own amount.

They compute what Pillow and `torchvision.transforms.v2.functional` compute for one picture, which
is what the tests hold them to. torchvision applies one amount to a whole batch, and a policy wants
another for every picture: a batch of 128 then takes over a hundred calls instead of a dozen.

Shapes: B pictures of a batch, S image size.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

Operation = Callable[[Tensor, Tensor], Tensor]
"""Pixels (B, 3, S, S) uint8 and amounts (B, 1, 1, 1) float32 -> pixels of the same shape."""

FILL = 128
"""What comes into view beyond the edge, and covers what is cut out: mid-grey."""

_LUMA = (0.2989, 0.587, 0.114)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def _blend(pixels: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """`other` at a factor of 0, the picture at 1, beyond it above."""
    return _to_bytes(other + factors * (pixels - other))


@cache
def _luma_on(device: torch.device) -> Tensor:
    """`_LUMA` as (1, 3, 1, 1), made once: making it on a graphics card waits for the card."""
    with torch.inference_mode(False):
        return torch.tensor(_LUMA, device=device).view(1, 3, 1, 1)


def _grey(pixels: Tensor) -> Tensor:
    """(B, 1, S, S) float32, whole numbers."""
    return (pixels * _luma_on(pixels.device)).sum(dim=1, keepdim=True).floor_()


def brightness(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Darker below 0, lighter above it."""
    return _to_bytes(pixels * (1 + amounts))


def colour(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Greyer below 0, more saturated above it."""
    return _blend(pixels, _grey(pixels), 1 + amounts)


def contrast(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Towards each picture's mean grey below 0, away from it above."""
    return _blend(pixels, _grey(pixels).mean(dim=(2, 3), keepdim=True), 1 + amounts)


def sharpness(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Blurred below 0, sharpened above it; the outermost pixels stay."""
    kernel = torch.ones(3, 1, 3, 3, device=pixels.device)
    kernel[:, :, 1, 1] = 5
    floats = pixels.float()
    smooth = floats.clone()
    # Sums of whole numbers up to 3,315 have to stay exact, whatever autocast is around.
    with torch.autocast(pixels.device.type, enabled=False):
        smooth[:, :, 1:-1, 1:-1] = (F.conv2d(floats, kernel, groups=3) / 13).round_()
    return _blend(floats, smooth, 1 + amounts)


def posterise(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Without the `amounts` lowest bits."""
    step = torch.pow(2, amounts.round()).to(torch.uint8)
    return pixels // step * step


def solarise(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Values of at least 255 - `amounts` are inverted."""
    return torch.where(pixels >= 255 - amounts, 255 - pixels, pixels)


def invert(pixels: Tensor, amounts: Tensor) -> Tensor:
    """The negative; there is no amount."""
    return 255 - pixels


def autocontrast(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Each channel stretched to 0..255; there is no amount."""
    floats = pixels.float()
    low, high = floats.amin((2, 3), keepdim=True), floats.amax((2, 3), keepdim=True)
    stretched = (floats - low) * (255 / (high - low).clamp_min(1))
    return torch.where(high > low, stretched.clamp_(0, 255).to(torch.uint8), pixels)


def equalise(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Each channel's histogram made even, as Pillow does; there is no amount."""
    values = pixels.flatten(2).long()  # (B, 3, S*S)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=pixels.device)
    histogram.scatter_add_(2, values, torch.ones_like(values))
    of_largest = histogram.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - of_largest) // 255  # (B, 3, 1)
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp_min(1)).clamp_(max=255)
    equalised = table.gather(2, values).to(torch.uint8).view_as(pixels)
    return torch.where(step[..., None] > 0, equalised, pixels)


def moved(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Each picture seen through its own affine map, nearest pixels taken.

    Args:
        pixels: (B, 3, S, S) uint8.
        matrices: (B, 2, 3) float32 on the same device, from a place in the result to the place in
            the picture that is seen there; x before y, in pixels from the middle.
    """
    size = pixels.shape[-1]
    places = torch.arange(size, device=pixels.device) - (size - 1) / 2
    y, x = torch.meshgrid(places, places, indexing="ij")
    target = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # (3, S*S)
    with torch.autocast(pixels.device.type, enabled=False):
        source = (matrices @ target + (size - 1) / 2).round_()  # (B, 2, S*S)
    inside = ((source >= 0) & (source < size)).all(dim=1, keepdim=True)  # (B, 1, S*S)
    column, row = source.clamp_(0, size - 1).long().unbind(1)
    index = (row * size + column)[:, None].expand(-1, pixels.shape[1], -1)
    seen = pixels.flatten(2).gather(2, index)
    return torch.where(inside, seen, FILL).view(pixels.shape)


def cut_out(pixels: Tensor, centres: Tensor, side_px: int) -> Tensor:
    """Each picture with a grey square over it (cutout; DeVries and Taylor, 2017).

    Args:
        pixels: (B, 3, S, S) uint8.
        centres: (B, 2) int64 on the same device, row and column, 0 to S-1; what reaches beyond an
            edge is lost.
        side_px: height and width of the square.
    """
    places = torch.arange(pixels.shape[-1], device=pixels.device)
    first = centres - side_px // 2  # (B, 2)
    within = (places >= first[..., None]) & (places < first[..., None] + side_px)  # (B, 2, S)
    covered = within[:, 0, :, None] & within[:, 1, None, :]  # (B, S, S)
    return torch.where(covered[:, None], FILL, pixels)
