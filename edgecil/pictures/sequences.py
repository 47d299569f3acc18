"""Pictures of any origin, one after another, and as a test sees them.

Up to 64 pixels pictures are squares. Above, training pictures and exemplars are kept whole,
squeezed into a square, since random crops are taken from whole pictures. What is measured, compared
or calibrated on them wants what a device would see: `SeenInTest`.

Shapes: n pictures, S image size.
"""

from typing import Protocol

import numpy as np
import torch

from edgecil.pictures.augmentation import seen_in_test
from edgecil.work import work
from edgecil_devices.images import Preprocessing


class Pictures(Protocol):
    """Pictures that can be had as pixels: a data set's split, encoded exemplars, both together."""

    def __len__(self) -> int: ...

    @property
    def aspects(self) -> np.ndarray | None:
        """(n,) float32, width over height of pictures that come whole, squeezed into the square.

        None where they come as a test sees them.
        """

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""


class JoinedPictures:
    """Several `Pictures` one after another."""

    def __init__(self, *parts: Pictures) -> None:
        self._parts = [part for part in parts if len(part)]
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._parts else 0

    @property
    def aspects(self) -> np.ndarray | None:
        """Those of the parts; pictures that are squares anyway have 1 beside others."""
        if all(part.aspects is None for part in self._parts):
            return None
        ones = np.ones(len(self), np.float32)
        starts = [0, *self._ends[:-1]]
        for start, end, part in zip(starts, self._ends, self._parts, strict=True):
            if part.aspects is not None:
                ones[start:end] = part.aspects
        return ones

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""
        if indices is None:
            whole = []
            with work("reading pictures", len(self)) as done:
                for part in self._parts:
                    whole.append(part.pixels())
                    done(len(part))
            return np.concatenate(whole)
        owners = np.searchsorted(self._ends, indices, side="right")
        found: list[np.ndarray] = []
        for owner in np.unique(owners):
            part = self._parts[owner]
            first = self._ends[owner] - len(part)
            found.append(part.pixels(indices[owners == owner] - first))
        # Part by part they are now in the order of a stable sort by owner.
        return np.concatenate(found)[np.argsort(np.argsort(owners, kind="stable"))]


class SeenInTest:
    """Pictures as a test sees them; those that come so already are left as they are.

    Args:
        pictures: N pictures.
        preprocessing: how the test sees a picture.
    """

    aspects = None

    def __init__(self, pictures: Pictures, preprocessing: Preprocessing) -> None:
        self._pictures, self._margin_px = pictures, preprocessing.shorter_side_px

    def __len__(self) -> int:
        return len(self._pictures)

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""
        pixels, aspects = self._pictures.pixels(indices), self._pictures.aspects
        if aspects is None:
            return pixels
        chosen = torch.from_numpy(aspects if indices is None else aspects[indices])
        seen = seen_in_test(torch.from_numpy(pixels), chosen, self._margin_px)
        return np.ascontiguousarray(seen.permute(0, 2, 3, 1).numpy())
