"""Feature maps of a frozen trunk in place of pictures: computed once for all epochs of a phase.

Where the trunk stays as it is, it takes nearly all of the time of a step and makes the same of the
same picture in every epoch. So each picture is shown in a few views that are chosen once, and the
trunk sees each of these once; so do the blocks that stay as they are. Where the maps do not fit the
device's memory, they are computed anew whenever they are due, and are the same. Crops beside a
picture and its mirror image cost time and brought nothing (ten classes of 50 pictures of CIFAR-100,
EfficientNet-Lite0, one task: 82.8 % without, 83.3 with two, 81.4 with six).

Shapes: V views, N images of the task, B images of a batch, C' x S' x S' feature map, K frozen
blocks, D features a block.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgecil.methods.lesson import Phase
from edgecil.networks import ExpandableNetwork, FeatureMaps
from edgecil.pictures.batches import (
    Batch,
    Images,
    TrainingImages,
    pictures_at_once,
    resident_limit_bytes,
    shuffled,
)
from edgecil.pictures.views import Views
from edgecil.team import share_of
from edgecil.training.distributed import gathered, lead

LARGEST_PORTION = 32
"""Of small pictures; see `portion_for`."""

MAP_TYPE = torch.float16
"""How maps are kept."""


def behind_trunk(
    network: ExpandableNetwork, phase: Phase, images: Images, seed: int, *, halved: bool = False
) -> TrainingImages:
    """The images as `phase` is to see them: as feature maps, where it and its recipe allow that.

    Args:
        network: on the training device, frozen as the phase has it.
        phase: the phase.
        images: the task's.
        seed: of the views.
        halved: whether the trunk computes in bfloat16, as it would within a step.
    """
    crops = phase.recipe.crops
    behind = network.frozen_trunk or phase.behind_trunk
    if crops is None or not behind or not any(True for _ in network.trunk.parameters()):
        return images
    views = images.views(crops, torch.Generator().manual_seed(seed))

    dtype = network.mean.dtype

    def called(module: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        with torch.autocast(given.device.type, torch.bfloat16, enabled=halved):
            return module(given).to(dtype)

    stays = phase.stays
    if stays is None:
        stays = [block for block in network.blocks if not any(map(_learns, block.parameters()))]
    blocks = {block: partial(called, block) for block in stays}
    return MappedImages(views, partial(called, network.feature_map), blocks, dtype)


def _learns(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad


class _Passed(NamedTuple):
    """Pictures behind the trunk, B of them."""

    maps: Tensor
    """(B, S', S', C') in `MAP_TYPE`."""
    features: Tensor
    """(B, K, D)."""

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self)

    def at(self, places: Tensor) -> "_Passed":
        return _Passed(*(part[places] for part in self))

    def part(self, first: int, end: int | None) -> "_Passed":
        return _Passed(*(part[first:end] for part in self))

    def followed_by(self, other: "_Passed") -> "_Passed":
        return _Passed(*map(torch.cat, zip(self, other, strict=True)))


class MappedImages:
    """A task's images as feature maps, in each epoch those of one view of each image, by chance.

    Args:
        views: the images.
        trunk: pixels (B, 3, S, S) in 0..255 -> maps (B, C', S', S').
        blocks: K blocks that stay as they are, and how they are called: maps -> features (B, D).
        dtype: in which these take maps and give features.
    """

    def __init__(
        self,
        views: Views,
        trunk: Callable[[Tensor], Tensor],
        blocks: Mapping[nn.Module, Callable[[Tensor], Tensor]] = MappingProxyType({}),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._views, self._trunk, self._blocks, self._dtype = views, trunk, blocks, dtype
        size_px, device = views.image_size_px, views.labels.device
        self._portion = portion_for(size_px, device)
        nothing = self._passed(torch.zeros(1, 3, size_px, size_px, device=device))
        self._none = nothing.part(0, 0)
        # The processes of a team must not differ in this.
        fits = lead(lambda: len(views) * nothing.nbytes <= resident_limit_bytes(device))
        self._kept = self._all() if fits else None

    def __len__(self) -> int:
        return len(self._views.labels)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order, one view of each image: `FeatureMaps` (B, C', S', S').

        Of several processes that train together, each gets its share of every batch.
        """
        own = []
        for batch in shuffled(len(self), batch_size, generator):
            view = torch.randint(len(self._views) // len(self), batch.shape, generator=generator)
            own.append((view * len(self) + batch)[share_of(len(batch))])
        labels, device = self._views.labels, self._views.labels.device
        for places, passed in zip(own, self._passed_at(own), strict=True):
            indices = self._views.images_at(places).to(device, non_blocking=True)
            maps = passed.maps.movedim(-1, 1).as_subclass(FeatureMaps)
            maps.known = dict(zip(self._blocks, passed.features.unbind(1), strict=True))
            yield maps, labels[indices]

    def _passed_at(self, batches: Sequence[Tensor]) -> Iterator[_Passed]:
        """Those at the places of each batch, (B,) int64 on the CPU."""
        if self._kept is None:
            return self._computed(batches)
        kept, device = self._kept, self._kept.maps.device
        return (kept.at(places.to(device, non_blocking=True)) for places in batches)

    def _computed(self, batches: Sequence[Tensor]) -> Iterator[_Passed]:
        """The same, computed. The trunk's portions run on from one batch into the next."""
        portions = [
            part for part in torch.split(torch.cat(list(batches)), self._portion) if len(part)
        ]
        following = map(self._passed, self._views.batches(portions))
        ready = self._none
        for places in batches:
            while len(ready.maps) < len(places):
                ready = ready.followed_by(next(following))
            yield ready.part(0, len(places))
            ready = ready.part(len(places), None)

    def _all(self) -> _Passed:
        """Those of all places, V * N, each computed by one process of the team."""
        own, device = share_of(len(self._views)), self._views.labels.device
        count = len(self._views)
        found = _Passed(*(part.new_zeros(count, *part.shape[1:]) for part in self._none))
        places = torch.split(torch.arange(len(self._views))[own], self._portion)
        for here, passed in zip(places, self._computed(places), strict=True):
            for whole, part in zip(found, passed, strict=True):
                whole[here.to(device)] = part
        return _Passed(*map(gathered, found))

    @torch.no_grad()
    def _passed(self, pixels: Tensor) -> _Passed:
        """What trunk and frozen blocks make of pixels (B, 3, S, S), B at most a portion."""
        largest = torch.finfo(MAP_TYPE).max
        maps = in_portion(self._trunk, pixels, self._portion).clamp(-largest, largest).to(MAP_TYPE)
        seen = maps.to(self._dtype)
        features = [in_portion(block, seen, self._portion) for block in self._blocks.values()]
        none = seen.new_zeros(len(seen), 0, 0)
        return _Passed(maps.movedim(1, -1), torch.stack(features, 1) if features else none)


def portion_for(image_size_px: int, device: torch.device) -> int:
    """How many pictures pass the trunk together.

    Always so many, the last one repeated where there are fewer, so that a picture's map does not
    depend on which others pass with it.
    """
    return pictures_at_once(image_size_px, device, LARGEST_PORTION)


def in_portion(module: Callable[[Tensor], Tensor], given: Tensor, portion: int) -> Tensor:
    """What trunk or block make of pixels or maps (B, ...), B at most `portion`, whatever B is."""
    filled = torch.arange(portion, device=given.device).clamp(max=len(given) - 1)
    whole = given[filled].contiguous(memory_format=torch.channels_last)
    return module(whole)[: len(given)]
