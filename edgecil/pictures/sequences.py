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
from edgecil.workers import each_on_all_cores, portions
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
            return self._all_pixels()
        owners = np.searchsorted(self._ends, indices, side="right")
        found: list[np.ndarray] = []
        for owner in np.unique(owners):
            part = self._parts[owner]
            first = self._ends[owner] - len(part)
            found.append(part.pixels(indices[owners == owner] - first))
        # Part by part they are now in the order of a stable sort by owner.
        return np.concatenate(found)[np.argsort(np.argsort(owners, kind="stable"))]

    def _all_pixels(self) -> np.ndarray:
        """Those of all parts, read side by side into their place, so that they are held once."""
        if len(self._parts) == 1:
            return self._parts[0].pixels()
        firsts = [0, *self._ends[:-1].tolist()]
        shape = self._parts[0].pixels(np.array([0])).shape[1:]
        found = np.empty((len(self), *shape), np.uint8)

        def read(some: tuple[int, Pictures, np.ndarray]) -> None:
            first, part, indices = some
            found[first + indices] = part.pixels(indices)

        parts = zip(firsts, self._parts, strict=True)
        jobs = [(a, part, some) for a, part in parts for some in portions(len(part))]
        with work("reading pictures", len(self)) as done:
            for (_, _, some), _ in zip(jobs, each_on_all_cores(read, jobs), strict=True):
                done(len(some))
        return found


class PicturesFrom:
    """All pictures from one on.

    Args:
        pictures: N pictures.
        first: the position of that one, 0 to N.
    """

    def __init__(self, pictures: Pictures, first: int) -> None:
        self._pictures, self._first = pictures, first

    def __len__(self) -> int:
        return len(self._pictures) - self._first

    @property
    def aspects(self) -> np.ndarray | None:
        """Those of the pictures."""
        aspects = self._pictures.aspects
        return None if aspects is None else aspects[self._first :]

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""
        chosen = np.arange(len(self)) if indices is None else indices
        return self._pictures.pixels(self._first + chosen)


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
