"""Feature maps of a frozen trunk in place of pictures: computed once for all epochs of a phase.

Where the trunk stays as it is, it takes nearly all of the time of a step and makes the same of the
same picture in every epoch. So each picture is shown in a few views that are chosen once, and the
trunk sees each of these once. Where the maps do not fit the device's memory, they are computed
anew whenever they are due, and are the same. Crops beside a picture and its mirror image cost time
and brought nothing (ten classes of 50 pictures of CIFAR-100, EfficientNet-Lite0, one task: 82.8 %
without, 83.3 with two, 81.4 with six).

Shapes: V views, N images of the task, B images of a batch, C' x S' x S' feature map.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from edgecil.methods.lesson import Phase
from edgecil.networks import ExpandableNetwork, FeatureMaps
from edgecil.pictures.batches import (
    Batch,
    Images,
    TrainingImages,
    resident_limit_bytes,
    shuffled,
)
from edgecil.pictures.views import Views
from edgecil.team import share_of
from edgecil.training.distributed import gathered, lead

PORTION = 32
"""Pictures that pass the trunk together: always so many, the last ones repeated where there are
fewer, so that a picture's map does not depend on which others pass with it."""

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

    def trunk(pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=halved):
            return network.feature_map(pixels)

    return MappedImages(views, trunk)


class MappedImages:
    """A task's images as feature maps, in each epoch those of one view of each image, by chance.

    Args:
        views: the images.
        trunk: pixels (B, 3, S, S) in 0..255 -> maps (B, C', S', S').
    """

    def __init__(self, views: Views, trunk: Callable[[Tensor], Tensor]) -> None:
        self._views, self._trunk = views, trunk
        size_px, device = views.image_size_px, views.labels.device
        (nothing,) = self._maps_of([torch.zeros(1, 3, size_px, size_px, device=device)])
        self._none = nothing[:0]
        map_bytes = nothing.numel() * nothing.element_size()
        # The processes of a team must not differ in this.
        fits = lead(lambda: len(views) * map_bytes <= resident_limit_bytes(device))
        self._kept = self._all() if fits else None  # (V * N, S', S', C')

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
        for places, maps in zip(own, self._maps_at(own), strict=True):
            indices = self._views.images_at(places).to(device, non_blocking=True)
            yield maps.as_subclass(FeatureMaps), labels[indices]

    def _maps_at(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The maps at the places of each batch, (B,) int64 on the CPU."""
        if self._kept is None:
            return self._computed(batches)
        kept, device = self._kept, self._kept.device
        return (kept[places.to(device, non_blocking=True)].movedim(-1, 1) for places in batches)

    def _computed(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The same, computed. The trunk's portions run on from one batch into the next."""
        portions = [part for part in torch.split(torch.cat(list(batches)), PORTION) if len(part)]
        following = self._maps_of(self._views.batches(portions))
        ready = self._none
        for places in batches:
            while len(ready) < len(places):
                ready = torch.cat([ready, next(following)])
            yield ready[: len(places)]
            ready = ready[len(places) :]

    def _all(self) -> Tensor:
        """The maps of all places, (V * N, S', S', C'), each computed by one process of the team."""
        own = share_of(len(self._views))
        shape = self._none.movedim(1, -1).shape[1:]
        device = self._views.labels.device
        found = torch.zeros(len(self._views), *shape, dtype=MAP_TYPE, device=device)
        places = torch.split(torch.arange(len(self._views))[own], PORTION)
        for here, maps in zip(places, self._computed(places), strict=True):
            found[here.to(device)] = maps.movedim(1, -1)
        return gathered(found)

    def _maps_of(self, batches: Iterator[Tensor] | Sequence[Tensor]) -> Iterator[Tensor]:
        """What the trunk makes of pixels (B, 3, S, S), B at most `PORTION`."""
        largest = torch.finfo(MAP_TYPE).max
        for pixels in batches:
            with torch.no_grad():
                maps = in_portion(self._trunk, pixels)
                yield maps.clamp(-largest, largest).to(MAP_TYPE)


def in_portion(trunk: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """What a trunk makes of pixels (B, 3, S, S), B at most `PORTION`, whatever B is."""
    filled = torch.arange(PORTION, device=pixels.device).clamp(max=len(pixels) - 1)
    portion = pixels[filled].contiguous(memory_format=torch.channels_last)
    return trunk(portion)[: len(pixels)]
