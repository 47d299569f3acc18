"""Batches of a task's images: from one tensor on the training device, or streamed by workers.

Shapes: N images of the task, B images of a batch, S image size, P padding.
"""

import os
from collections.abc import Iterator
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from edgecil.training import augmentation
from edgecil.training.distributed import share_of, team
from edgecil.training.policies import PUBLISHED, Augment

Batch = tuple[Tensor, Tensor]
"""Pixels (B, 3, S, S) in 0..255, uint8 or float32, and labels (B,) int64, on the device."""


class Pictures(Protocol):
    """Pictures that can be had as pixels: a data set's split, encoded exemplars, both together."""

    def __len__(self) -> int: ...

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""


class JoinedPictures:
    """Several `Pictures` one after another."""

    def __init__(self, *parts: Pictures) -> None:
        self._parts = [part for part in parts if len(part)]
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._parts else 0

    def pixels(self, indices: np.ndarray | None = None) -> np.ndarray:
        """The pictures at `indices` (all if None) -> (n, S, S, 3) uint8."""
        if indices is None:
            return np.concatenate([part.pixels() for part in self._parts])
        owners = np.searchsorted(self._ends, indices, side="right")
        found: list[np.ndarray] = []
        for index, owner in zip(indices, owners, strict=True):
            part = self._parts[owner]
            first = self._ends[owner] - len(part)
            found.append(part.pixels(np.array([index - first])))
        return np.concatenate(found)


class Images(Protocol):
    """A task's labelled images, as the training loop wants them."""

    def __len__(self) -> int: ...

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, augmented; all randomness comes from `generator`.

        Of several processes that train together, each gets its share of every batch.
        """

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass in order, as they are."""


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """The sizes of the batches of one pass over `count` images.

    A last batch of one image joins the batch before it, since BatchNorm cannot learn from one.
    """
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and rest == 1:
        sizes[-2:] = [batch_size + 1]
    return sizes


def shuffled(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """The indices of one pass in random order, cut into batches of `batch_sizes`."""
    order = torch.randperm(count, generator=generator)
    return list(torch.split(order, batch_sizes(count, batch_size)))


class ResidentImages:
    """Images as one uint8 tensor on the training device; batches are gathered from it.

    Args:
        pixels: (N, S, S, 3) uint8.
        labels: (N,) int64.
        device: where training runs.
        mirrors: whether a picture still shows its class in a mirror.
        augment: what is done to crops.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        device: torch.device,
        *,
        mirrors: bool,
        augment: Augment = PUBLISHED,
    ) -> None:
        self._size, self._mirrors, self._augment = pixels.shape[1], mirrors, augment
        self._pad = 0
        if self._size <= augmentation.LARGEST_PADDED_CROP_PX:
            self._pad = augmentation.padding_px(self._size)
        pad = self._pad
        padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        self._padded = torch.from_numpy(padded).to(device)  # (N, S+2P, S+2P, 3)
        self._labels = torch.from_numpy(labels).to(device)

    def __len__(self) -> int:
        return len(self._labels)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, augmented; all randomness comes from `generator`."""
        for indices in shuffled(len(self), batch_size, generator):
            if self._pad:
                pixels = augmentation.cropped_and_flipped(
                    self._padded, self._size, indices, self._mirrors, generator
                )
            else:
                where = indices.to(self._padded.device, non_blocking=True)
                whole = self._padded[where].permute(0, 3, 1, 2)
                pixels = augmentation.resized_crops(whole, self._mirrors, generator)
            # Whole batches are cropped, and cut: that takes little time beside a step.
            share = share_of(len(indices))
            pixels = self._augment(pixels[share], len(indices), share, generator)
            yield pixels, self._labels[indices[share].to(self._labels.device, non_blocking=True)]

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass in order, as they are."""
        inner = slice(self._pad, self._pad + self._size)
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self._padded[rows, inner, inner].permute(0, 3, 1, 2), self._labels[rows]


class _Samples(Dataset[tuple[Tensor, int]]):
    """One picture at a time for a worker; asked with (index, seed), no seed means no crop."""

    def __init__(
        self, pictures: Pictures, labels: np.ndarray, image_size_px: int, mirrors: bool
    ) -> None:
        self._pictures, self._labels = pictures, labels
        from torchvision.transforms import v2  # takes as long to import as torch itself

        crop: v2.Transform = v2.RandomResizedCrop(image_size_px, antialias=True)
        if image_size_px <= augmentation.LARGEST_PADDED_CROP_PX:
            crop = v2.RandomCrop(image_size_px, padding=augmentation.padding_px(image_size_px))
        self._augment = v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if mirrors else 0.0)])

    def __getitem__(self, asked: tuple[int, int | None]) -> tuple[Tensor, int]:
        index, seed = asked
        pixels = torch.from_numpy(self._pictures.pixels(np.array([index]))[0]).permute(2, 0, 1)
        if seed is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                pixels = self._augment(pixels)
        return pixels.contiguous(), int(self._labels[index])


def _collated(image_size_px: int, samples: list[tuple[Tensor, int]]) -> Batch:
    """Samples as one batch; a share of a batch may be empty."""
    if not samples:
        empty = torch.empty(0, 3, image_size_px, image_size_px, dtype=torch.uint8)
        return empty, torch.empty(0, dtype=torch.int64)
    pixels, labels = default_collate(samples)
    return pixels, labels


class _Order(Sampler[list[tuple[int, int | None]]]):
    """The batches of the next pass, set from outside so that the workers can stay alive."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int | None]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int | None]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class StreamedImages:
    """Images that do not fit the device's memory: read, cropped and flipped by worker processes.

    A picture's crop depends on the run's seed, the epoch and its place alone, never on which
    worker reads it.

    Args:
        pictures: N pictures.
        labels: (N,) int64.
        image_size_px: S.
        device: where training runs.
        mirrors: whether a picture still shows its class in a mirror.
        augment: what is done to crops.
        workers: processes that read pictures; 0 reads them in this one.
    """

    def __init__(
        self,
        pictures: Pictures,
        labels: np.ndarray,
        image_size_px: int,
        device: torch.device,
        *,
        mirrors: bool,
        augment: Augment = PUBLISHED,
        workers: int | None = None,
    ) -> None:
        if workers is None:
            workers = max(1, min(16, (os.cpu_count() or 1) // team().local_size))
        self._count, self._device, self._order = len(pictures), device, _Order()
        self._augment = augment
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            _Samples(pictures, labels, image_size_px, mirrors),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=partial(_collated, image_size_px),
            pin_memory=device.type == "cuda",
        )

    def __len__(self) -> int:
        return self._count

    def _batches(self, order: list[list[tuple[int, int | None]]]) -> Iterator[Batch]:
        self._order.batches = order
        for pixels, labels in self._loader:
            there = pixels.to(self._device, non_blocking=True)
            yield there, labels.to(self._device, non_blocking=True)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, augmented; all randomness comes from `generator`."""
        order = shuffled(len(self), batch_size, generator)
        seeds = torch.randint(0, 2**62, (len(self),), generator=generator).tolist()
        shares = [share_of(len(batch)) for batch in order]
        asked = [
            [(index, seeds[index]) for index in batch[share].tolist()]
            for batch, share in zip(order, shares, strict=True)
        ]
        batches = zip(order, shares, self._batches(asked), strict=True)
        for batch, share, (pixels, labels) in batches:
            yield self._augment(pixels, len(batch), share, generator), labels

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass in order, as they are."""
        indices = range(len(self))
        yield from self._batches(
            [
                [(index, None) for index in indices[start : start + batch_size]]
                for start in range(0, len(self), batch_size)
            ]
        )


def resident_limit_bytes(device: torch.device) -> int:
    """How many bytes of images may lie on `device`: a part of what is free there."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    try:
        free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return free_bytes // 4 // team().local_size
    except (ValueError, OSError, AttributeError):
        return 1 << 30  # a system that does not say


def images_on(
    device: torch.device,
    pictures: Pictures,
    labels: np.ndarray,
    *,
    image_size_px: int,
    mirrors: bool,
    augment: Augment = PUBLISHED,
    limit_bytes: int | None = None,
) -> Images:
    """`pictures` on the device as one tensor if they fit in `limit_bytes`, else streamed.

    None for `limit_bytes` is `resident_limit_bytes`. Processes that train together agree on one,
    since the two kinds draw different crops.
    """
    limit_bytes = resident_limit_bytes(device) if limit_bytes is None else limit_bytes
    side_px = image_size_px + 2 * augmentation.padding_px(image_size_px)
    if len(pictures) * side_px * side_px * 3 <= limit_bytes:
        return ResidentImages(pictures.pixels(), labels, device, mirrors=mirrors, augment=augment)
    return StreamedImages(pictures, labels, image_size_px, device, mirrors=mirrors, augment=augment)
