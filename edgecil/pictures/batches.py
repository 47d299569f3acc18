"""Batches of a task's images: from one tensor on the training device, or streamed by workers.

Shapes: N images of the task, B images of a batch, S image size, P padding.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from edgecil.errors import EdgecilError
from edgecil.pictures import augmentation
from edgecil.pictures.augmentation import PaddedCrops, ResizedCrops
from edgecil.pictures.policies import PUBLISHED, Augment
from edgecil.pictures.scratch import ScratchPictures, fits_on_disk
from edgecil.pictures.sequences import JoinedPictures as JoinedPictures
from edgecil.pictures.sequences import Pictures as Pictures
from edgecil.pictures.views import Crops, Views, joined
from edgecil.team import share_of, team
from edgecil_devices.limits import available_bytes, usable_cores

Batch = tuple[Tensor, Tensor]
"""Pixels (B, 3, S, S) in 0..255, uint8 or float32, and labels (B,) int64, on the device."""


_MOST_BESIDE_SCRATCH_BYTES = 256 << 20
"""On a processor a run then takes less than a gigabyte with all else, and more lies on the disk."""
_PIXELS_AT_ONCE = {"cpu": 1 << 18, "cuda": 32 * 224 * 224}
"""Of pictures that pass a network together without being learned from. On a processor their
activations should find room in its cache: EfficientNet-Lite0 takes 22 ms for a picture of 224 px
among 5, and 50 ms among 41. On a card, 1.1 GB with that network."""
_PIXELS_TOGETHER = 32 * 128 * 32 * 32
"""On a card an augmented batch of small pictures is some 240 operations and 34 copies that take as
long for 32 batches as for one. As float32 these are 50 MB."""


class TrainingImages(Protocol):
    """A task's labelled images, as an epoch wants them."""

    def __len__(self) -> int: ...

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, augmented; all randomness comes from `generator`.

        Of several processes that train together, each gets its share of every batch.
        """


class PlainImages(Protocol):
    """Images as a test sees them."""

    def __len__(self) -> int: ...

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass over all of them, first to last."""


class Images(TrainingImages, Protocol):
    """A task's labelled images, as the learner wants them."""

    def plain_batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """One pass over the images at `order`, (n,) int64 on the CPU, as a test sees them.

        None stands for all of them, first to last. Batches are smaller than `batch_size` where the
        pictures are large; see `pictures_at_once`.
        """

    def views(self, crops: int, generator: torch.Generator) -> Views:
        """Every image as a test sees it, mirrored where it may be, and in `crops` random crops."""


def pictures_at_once(image_size_px: int, device: torch.device, most: int = 256) -> int:
    """How many pictures pass a network together on `device` where none is learned from."""
    pixels = _PIXELS_AT_ONCE.get(device.type, _PIXELS_AT_ONCE["cuda"])
    return max(1, min(most, pixels // image_size_px**2))


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


class _Images(ABC):
    """What is done to images, wherever they come from: so all draw and do the same."""

    _pixels_together = 0
    """Of batches that are cropped and augmented together; one batch is at any rate."""

    def __init__(
        self,
        labels: np.ndarray,
        image_size_px: int,
        device: torch.device,
        mirrors: bool,
        augment: Augment,
        aspects: np.ndarray | None,
        shorter_side_px: int | None,
    ) -> None:
        self._size, self._device, self._mirrors = image_size_px, device, mirrors
        self._pad, self._augment = augmentation.padding_px(image_size_px), augment
        self._labels = torch.from_numpy(labels).to(device)
        self._come_whole, self._shorter_side_px = aspects is not None, shorter_side_px
        self._aspects = torch.ones(len(labels))
        if aspects is not None:
            self._aspects = torch.from_numpy(aspects)

    @abstractmethod
    def _padded_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For the indices of each batch: padded pictures, and where in these the batch is."""

    @abstractmethod
    def _whole_batches(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The pictures of each batch, (B, S, S, 3) uint8 on the device."""

    def __len__(self) -> int:
        return len(self._labels)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, augmented; all randomness comes from `generator`.

        Of several processes that train together, each gets its share of every batch.
        """
        batches = shuffled(len(self), batch_size, generator)
        own = [batch[share_of(len(batch))] for batch in batches]
        size = max(1, self._pixels_together // (batch_size * self._size**2))
        groups = [slice(start, start + size) for start in range(0, len(batches), size)]
        held = self._padded_batches([torch.cat(own[group]) for group in groups])
        for group, (padded, places) in zip(groups, held, strict=True):
            # Drawn batch by batch, so that nothing depends on how many are treated together.
            drawn = [self._drawn(batch, generator) for batch in batches[group]]
            crops = joined([crops for crops, _ in drawn])
            rest = [torch.cat(rows) for rows in zip(*(rest for _, rest in drawn), strict=True)]
            pixels = self._augment.apply(crops.cut(padded, places), rest)
            labels = self._labels_at(torch.cat(own[group]))
            sizes = [len(batch) for batch in own[group]]
            yield from zip(torch.split(pixels, sizes), torch.split(labels, sizes), strict=True)

    def _drawn(self, batch: Tensor, generator: torch.Generator) -> tuple[Crops, list[Tensor]]:
        """How the pictures of this process's share of a batch are cropped, and what is done then.

        It is drawn for the whole batch, so that it does not depend on the share.
        """
        share = share_of(len(batch))
        crops = self._crops(batch, generator).of(share)
        rest = self._augment.draw(len(batch), self._size, generator)
        return crops, [rows[share] for rows in rest]

    def _crops(self, batch: Tensor, generator: torch.Generator) -> Crops:
        if self._pad:
            return PaddedCrops.draw(len(batch), self._size, self._mirrors, generator)
        return ResizedCrops.draw(self._aspects[batch], self._mirrors, generator)

    def plain_batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """One pass over the images at `order`, or over all of them, as a test sees them."""
        order = torch.arange(len(self)) if order is None else order
        batch_size = pictures_at_once(self._size, self._device, batch_size)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for indices, pixels in zip(batches, self._whole_batches(batches), strict=True):
            seen = pixels.permute(0, 3, 1, 2)
            if self._come_whole:
                aspects = self._aspects[indices]
                seen = augmentation.seen_in_test(pixels, aspects, self._shorter_side_px)
            yield seen, self._labels_at(indices)

    def views(self, crops: int, generator: torch.Generator) -> Views:
        """Every image as a test sees it, mirrored where it may be, and in `crops` random crops."""
        shown = [self._seen_in_test(mirrored) for mirrored in (False, True)[: 1 + self._mirrors]]
        brightness = [torch.ones(len(self), 1, 1, 1)] * len(shown)
        for _ in range(crops):
            shown.append(self._crops(torch.arange(len(self)), generator))
            varied = self._augment.brightens
            brightness.append(
                augmentation.brightness(len(self), generator) if varied else brightness[0]
            )
        return Views(
            image_size_px=self._size,
            labels=self._labels,
            crops=joined(shown),
            brightness=torch.cat(brightness),
            held=self._padded_batches,
        )

    def _seen_in_test(self, mirrored: bool) -> Crops:
        if self._pad:
            return PaddedCrops.of_test(len(self), self._size, mirrored)
        margin_px = self._shorter_side_px if self._come_whole else None
        part = self._size / margin_px if margin_px else 1.0
        return ResizedCrops.of_test(self._aspects, part, mirrored)

    def _labels_at(self, indices: Tensor) -> Tensor:
        return self._labels[indices.to(self._device, non_blocking=True)]


class ResidentImages(_Images):
    """Images as one uint8 tensor on the training device; batches are gathered from it.

    Args:
        pixels: (N, S, S, 3) uint8.
        labels: (N,) int64.
        device: where training runs.
        mirrors: whether a picture still shows its class in a mirror.
        augment: what is done to crops.
        aspects: (N,) float32, of whole pictures; see `Pictures`.
        shorter_side_px: the margin that a test cuts off whole pictures; None for none.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        device: torch.device,
        *,
        mirrors: bool,
        augment: Augment = PUBLISHED,
        aspects: np.ndarray | None = None,
        shorter_side_px: int | None = None,
    ) -> None:
        size_px = pixels.shape[1]
        super().__init__(labels, size_px, device, mirrors, augment, aspects, shorter_side_px)
        pad = self._pad
        padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else pixels
        self._padded = torch.from_numpy(padded).to(device)  # (N, S+2P, S+2P, 3)
        if device.type == "cuda":
            self._pixels_together = _PIXELS_TOGETHER

    def _padded_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        return ((self._padded, indices) for indices in batches)

    def _whole_batches(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        inner = slice(self._pad, self._pad + self._size)
        whole = self._padded[:, inner, inner]
        return (whole[indices.to(self._device, non_blocking=True)] for indices in batches)


class _Samples(Dataset[Tensor | EdgecilError]):
    """One picture at a time for a worker, (S, S, 3) uint8; or why it cannot be read.

    What a worker raises, torch tells with the whole traceback in its text.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __getitem__(self, index: int) -> Tensor | EdgecilError:
        try:
            return torch.from_numpy(self._pictures.pixels(np.array([index]))[0])
        except EdgecilError as error:
            return error


def _stacked(image_size_px: int, samples: list[Tensor | EdgecilError]) -> Tensor | EdgecilError:
    """Samples as one batch, or what is wrong with one; a share of a batch may be empty."""
    for sample in samples:
        if isinstance(sample, EdgecilError):
            return sample
    if not samples:
        return torch.empty(0, image_size_px, image_size_px, 3, dtype=torch.uint8)
    batch: Tensor = default_collate(samples)  # in memory that the workers share
    return batch


def _read(batch: Tensor | EdgecilError) -> Tensor:
    """A batch as a worker has read it.

    Raises:
        EdgecilError: one of its pictures cannot be read.
    """
    if isinstance(batch, EdgecilError):
        raise batch
    return batch


class _Order(Sampler[list[int]]):
    """The batches of the next pass, set from outside so that the workers can stay alive."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class StreamedImages(_Images):
    """Images that do not fit the device's memory: read by worker processes, uncropped.

    Whatever is drawn is drawn here, batch by batch, as for images that do fit.

    Args:
        pictures: N pictures.
        labels: (N,) int64.
        image_size_px: S.
        device: where training runs.
        mirrors: whether a picture still shows its class in a mirror.
        augment: what is done to crops.
        shorter_side_px: the margin that a test cuts off whole pictures; None for none.
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
        shorter_side_px: int | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(
            labels, image_size_px, device, mirrors, augment, pictures.aspects, shorter_side_px
        )
        if workers is None:
            workers = max(1, min(16, usable_cores() // team().local_size))
        self._order = _Order()
        self._loader: DataLoader[Tensor | EdgecilError] = DataLoader(
            _Samples(pictures),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=partial(_stacked, image_size_px),
            pin_memory=device.type == "cuda",
            # It seeds the workers, which draw nothing; the run's own generator is left alone.
            generator=torch.Generator(),
        )

    def _padded_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        sides = (self._pad,) * 4
        for pixels in self._whole_batches(batches):
            yield F.pad(pixels, (0, 0, *sides)), torch.arange(len(pixels))

    def _whole_batches(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        self._order.batches = [batch.tolist() for batch in batches]
        return (_read(batch).to(self._device, non_blocking=True) for batch in self._loader)


def resident_limit_bytes(device: torch.device) -> int:
    """How many bytes of images may lie on `device`: a part of what is free there."""
    if device.type == "cuda":
        free_bytes = int(torch.cuda.mem_get_info(device)[0])
        # What torch took and does not use now, it gives to whoever asks next.
        idle_bytes = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free_bytes + idle_bytes) // 2
    free = available_bytes()
    if free is None:
        return 1 << 30  # a system that does not say
    return free // 4 // team().local_size


def images_on(
    device: torch.device,
    pictures: Pictures,
    labels: np.ndarray,
    *,
    image_size_px: int,
    mirrors: bool,
    augment: Augment = PUBLISHED,
    shorter_side_px: int | None = None,
    scratch: Path | None = None,
) -> Images:
    """`pictures` on the device as one tensor if they fit `resident_limit_bytes`, else streamed.

    On a processor they are streamed from a file of pixels in the folder `scratch`, where one is
    given and the disk has room. All kinds give the same batches: which it is bears on the speed
    alone.
    """
    side_px = image_size_px + 2 * augmentation.padding_px(image_size_px)
    resident_bytes = len(pictures) * side_px * side_px * 3
    scratch = scratch if device.type == "cpu" else None
    on_disk = scratch is not None and fits_on_disk(resident_bytes, scratch)
    most_bytes = resident_limit_bytes(device)
    if resident_bytes <= (min(most_bytes, _MOST_BESIDE_SCRATCH_BYTES) if on_disk else most_bytes):
        return ResidentImages(
            pictures.pixels(),
            labels,
            device,
            mirrors=mirrors,
            augment=augment,
            aspects=pictures.aspects,
            shorter_side_px=shorter_side_px,
        )
    if scratch is not None and on_disk:
        pictures = ScratchPictures(pictures, image_size_px, scratch)
    return StreamedImages(
        pictures,
        labels,
        image_size_px,
        device,
        mirrors=mirrors,
        augment=augment,
        shorter_side_px=shorter_side_px,
        # Reading them back is so quick that other processes would only cost memory.
        workers=0 if on_disk else None,
    )
