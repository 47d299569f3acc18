"""Augmentation policies: AutoAugment, RandAugment, TrivialAugment and cutout, by the batch.

What happens to each picture is drawn on the CPU, so that a run is the same on every device and no
step waits for one. The pictures that share an operation are then gathered and treated together.

Shapes: B pictures of a batch, S image size, R operations one after another.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from edgecil.errors import UsageError
from edgecil.pictures import augmentation
from edgecil.pictures import image_operations as operations

CUTOUT = "+cutout"
"""What is added to a policy's name for a square to be covered after it."""


@dataclass(frozen=True)
class _Ranges:
    """The amounts of operations at full strength."""

    shear: float
    """Pixels sideways per pixel up or down."""
    translation: float
    """Pixels, as a part of S."""
    rotation: float
    """Degrees."""
    enhancement: float
    """Relative change of brightness, colour, contrast and sharpness."""
    bits: float
    """Lowest bits that are dropped."""


_NARROW = _Ranges(shear=0.3, translation=150 / 331, rotation=30, enhancement=0.9, bits=4)
_WIDE = _Ranges(shear=0.99, translation=1, rotation=135, enhancement=0.99, bits=6)

_ENHANCEMENTS: dict[str, operations.Operation] = {
    "brightness": operations.brightness,
    "colour": operations.colour,
    "contrast": operations.contrast,
    "sharpness": operations.sharpness,
}
_TONES: dict[str, operations.Operation] = {
    "posterise": operations.posterise,
    "solarise": operations.solarise,
    "autocontrast": operations.autocontrast,
    "equalise": operations.equalise,
    "invert": operations.invert,
}
_OPERATIONS = _ENHANCEMENTS | _TONES
_MOVEMENTS = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")
_NAMES = ("identity", *_MOVEMENTS, *_OPERATIONS)
_CODES = {name: code for code, name in enumerate(_NAMES)}
_ANY = tuple(name for name in _NAMES if name != "invert")
"""What RandAugment and TrivialAugment choose from."""

Step = tuple[str, float, int]
"""An operation, its probability, and its strength in ninths."""

AUTOAUGMENT_CIFAR: tuple[tuple[Step, Step], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate-x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear-y", 0.5, 8), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalise", 0.9, 0)),
    (("shear-y", 0.2, 7), ("posterise", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalise", 0.6, 0), ("equalise", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate-x", 0.5, 8)),
    (("equalise", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate-y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarise", 0.5, 2), ("invert", 0.0, 0)),
    (("equalise", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalise", 0.2, 0), ("equalise", 0.6, 0)),
    (("colour", 0.9, 9), ("equalise", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarise", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarise", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate-y", 0.9, 9), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarise", 0.8, 3)),
    (("equalise", 0.8, 0), ("invert", 0.1, 0)),
    (("translate-y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
"""The policy found for CIFAR-10, which is used for CIFAR-100 too (Cubuk et al., CVPR 2019,
table 7)."""


class Draws(NamedTuple):
    """What happens to each picture of a batch, on the CPU."""

    codes: Tensor
    """(B, R) int64: which operation, as a place in the list of all."""
    strengths: Tensor
    """(B, R) float32, -1 to 1; the sign counts where an operation has two directions."""
    centres: Tensor
    """(B, 2) int64: row and column of the square that is cut out."""


Chooser = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Draws the codes (B, R) and the strengths (B, R), 0 to 1, of B pictures."""


def _no_steps(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0)


def _autoaugment(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of 25 pairs of operations, each with its own probability and strength."""
    pairs = AUTOAUGMENT_CIFAR
    codes = torch.tensor([[_CODES[name] for name, _, _ in pair] for pair in pairs])
    odds = torch.tensor([[probability for _, probability, _ in pair] for pair in pairs])
    ninths = torch.tensor([[strength for _, _, strength in pair] for pair in pairs])
    chosen = torch.randint(len(pairs), (count,), generator=generator)
    happens = torch.rand(count, 2, generator=generator) < odds[chosen]
    return codes[chosen] * happens, ninths[chosen] / 9


def _randaugment(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Any two operations at 9 of 30 strengths (Cubuk et al., NeurIPS 2020)."""
    codes = torch.randint(len(_ANY), (count, 2), generator=generator)
    return codes, torch.full((count, 2), 9 / 30)


def _trivialaugment(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Any one operation at any of 31 strengths (Mueller and Hutter, ICCV 2021)."""
    codes = torch.randint(len(_ANY), (count, 1), generator=generator)
    return codes, torch.randint(31, (count, 1), generator=generator) / 30


_POLICIES: dict[str, tuple[Chooser, _Ranges]] = {
    "plain": (_no_steps, _NARROW),
    "autoaugment": (_autoaugment, _NARROW),
    "randaugment": (_randaugment, _NARROW),
    "trivialaugment": (_trivialaugment, _WIDE),
}

AUGMENTATIONS = tuple(name + rest for name in _POLICIES for rest in ("", CUTOUT))
"""What `--augmentation` takes."""


class Policy:
    """What is done to pictures after they are cropped and flipped.

    Args:
        name: one of `AUGMENTATIONS`.

    Raises:
        UsageError: no such policy.
    """

    def __init__(self, name: str = "plain") -> None:
        if name not in AUGMENTATIONS:
            raise UsageError(
                f"unknown augmentation {name!r}; choose one of: {', '.join(AUGMENTATIONS)}"
            )
        self._choose, self._ranges = _POLICIES[name.removesuffix(CUTOUT)]
        self._cuts_out = name.endswith(CUTOUT)
        self.is_plain = name == "plain"
        """Whether nothing is done."""

    def draw(self, count: int, image_size_px: int, generator: torch.Generator) -> Draws:
        """What happens to `count` pictures of S x S pixels."""
        codes, strengths = self._choose(count, generator)
        negative = torch.rand(codes.shape, generator=generator) < 0.5
        strengths = torch.where(negative, -strengths, strengths)
        centres = torch.empty(count, 0, dtype=torch.int64)
        if self._cuts_out:
            centres = torch.randint(image_size_px, (count, 2), generator=generator)
        return Draws(codes, strengths, centres)

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Pixels (B, 3, S, S) uint8 on any device -> the same, as the draws say."""
        for codes, strengths in zip(draws.codes.T, draws.strengths.T, strict=True):
            pixels = self._one_operation_each(pixels, codes, strengths)
        if self._cuts_out:
            centres = draws.centres.to(pixels.device, non_blocking=True)
            pixels = operations.cut_out(pixels, centres, pixels.shape[-1] // 2)
        return pixels

    def _one_operation_each(self, pixels: Tensor, codes: Tensor, strengths: Tensor) -> Tensor:
        device, treated = pixels.device, pixels.clone(memory_format=torch.contiguous_format)
        moves = ((codes > 0) & (codes <= len(_MOVEMENTS))).nonzero()[:, 0]
        if len(moves):
            matrices = self._matrices(codes[moves], strengths[moves], pixels.shape[-1])
            where = moves.to(device, non_blocking=True)
            seen = operations.moved(treated[where], matrices.to(device, non_blocking=True))
            treated[where] = seen
        for name, operation in _OPERATIONS.items():
            chosen = (codes == _CODES[name]).nonzero()[:, 0]
            if len(chosen):
                amounts = self._amounts(name, strengths[chosen]).view(-1, 1, 1, 1)
                where = chosen.to(device, non_blocking=True)
                treated[where] = operation(treated[where], amounts.to(device, non_blocking=True))
        return treated

    def _amounts(self, name: str, strengths: Tensor) -> Tensor:
        """What an operation takes, for strengths of -1 to 1."""
        if name in _ENHANCEMENTS:
            return strengths * self._ranges.enhancement
        if name == "posterise":
            return (strengths.abs() * self._ranges.bits).round()
        return strengths.abs() * 255

    def _matrices(self, codes: Tensor, strengths: Tensor, size: int) -> Tensor:
        """The affine maps (n, 2, 3) of movements, as `moved` takes them."""
        ranges, names = self._ranges, [_NAMES[code] for code in codes.tolist()]
        rows = []
        for name, strength in zip(names, strengths.tolist(), strict=True):
            shear = strength * ranges.shear
            shift = math.trunc(strength * ranges.translation * size)
            turn = math.radians(strength * ranges.rotation)
            # Shear leaves the first row or column where it is, which is `half` from the middle.
            half = size / 2
            cosine, sine = math.cos(turn), math.sin(turn)
            rows.append(
                {
                    "shear-x": (1, shear, shear * half, 0, 1, 0),
                    "shear-y": (1, 0, 0, shear, 1, shear * half),
                    "translate-x": (1, 0, shift, 0, 1, 0),
                    "translate-y": (1, 0, 0, 0, 1, shift),
                    "rotate": (cosine, sine, 0, -sine, cosine, 0),
                }[name]
            )
        return torch.tensor(rows, dtype=torch.float32).view(-1, 2, 3)


@dataclass(frozen=True)
class Augment:
    """What is done to cropped and flipped pictures: a policy's operations, then brightness."""

    policy: Policy
    """Its operations come first, as they are defined on whole numbers."""
    brightens: bool
    """Whether the brightness is varied."""

    def draw(self, count: int, image_size_px: int, generator: torch.Generator) -> list[Tensor]:
        """What happens to `count` pictures of S x S pixels, (count, ...) each, on the CPU."""
        drawn: list[Tensor] = []
        if not self.policy.is_plain:
            drawn += self.policy.draw(count, image_size_px, generator)
        if self.brightens:
            drawn.append(augmentation.brightness(count, generator))
        return drawn

    def apply(self, pixels: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """Pictures (B, 3, S, S) as the network sees them; `drawn` is what `draw` gave for them."""
        if not self.policy.is_plain:
            whole = pixels.round().to(torch.uint8) if pixels.is_floating_point() else pixels
            pixels = self.policy.apply(whole, Draws(*drawn[: len(Draws._fields)]))
        return augmentation.brightened(pixels, drawn[-1]) if self.brightens else pixels


PUBLISHED = Augment(Policy(), brightens=True)
"""Nothing but the brightness, as published for CIFAR-100."""
