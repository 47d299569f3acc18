"""Feature maps of test pictures, kept from one measurement of a run to the next.

Behind a trunk that never learns a test picture has the same map after every task, a block that
stays as it is makes the same features of it, and the pictures of a task follow those of the tasks
before. So each is decoded and passes the trunk once in a run, not once a task, and so it is with
every block.

Shapes: N test pictures, B of a batch, C' x S' x S' feature map, D features a block.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor, nn

from edgecil.networks import ExpandableNetwork, FeatureMaps
from edgecil.pictures.batches import Batch, Images, PlainImages, resident_limit_bytes
from edgecil.training.feature_maps import LARGEST_PORTION, in_portion, portion_for
from edgecil.training.run_data import Labelled


class KnownMaps:
    """The maps that are known so far, as many as memory holds, and what blocks make of them."""

    def __init__(self) -> None:
        self._trunk, self._portion = b"", 1
        self._maps: Tensor | None = None  # (N, C', S', S')
        self._features: dict[bytes, _Rows] = {}  # by block

    def of(
        self, network: ExpandableNetwork, test: Labelled, images: Callable[[Labelled], Images]
    ) -> PlainImages:
        """The pictures as maps where the trunk comes pretrained; as they are where it does not.

        Args:
            network: on the device where the images are to be.
            test: pictures; those of an earlier call come first, or these are the first of those.
            images: brings pictures to that device; asked for those that are not known.
        """
        if not network.frozen_trunk or not any(True for _ in network.trunk.parameters()):
            return images(test)
        if (trunk := _digest(network.trunk)) != self._trunk:
            self._trunk, self._maps, self._features = trunk, None, {}
        digests = {block: _digest(block) for block in network.blocks}
        self._features = {one: self._features.get(one, _Rows()) for one in digests.values()}
        return _Mapped(partial(self._batches, network, digests, test, images), test.labels)

    def _batches(
        self,
        network: ExpandableNetwork,
        digests: Mapping[nn.Module, bytes],
        test: Labelled,
        images: Callable[[Labelled], Images],
        batch_size: int,
    ) -> Iterator[FeatureMaps]:
        """Maps of all pictures, in batches of (B, C', S', S'); what was not known is computed."""
        count, start = len(test.labels), 0
        held = [] if self._maps is None else [self._maps[:count]]
        for maps in torch.split(held[0], batch_size) if held else ():
            yield self._with_features(maps, digests, start, count)
            start += len(maps)
        if start == count:
            return
        rest, fits = images(test.from_(start)), True
        for pixels, _ in rest.plain_batches(LARGEST_PORTION):
            self._portion = portion_for(pixels.shape[-1], pixels.device)
            maps = in_portion(network.feature_map, pixels, self._portion)
            fits = fits and count * maps[0].nbytes <= resident_limit_bytes(maps.device)
            if fits:
                held.append(maps)
            yield self._with_features(maps, digests, start, count)
            start += len(maps)
        if fits:
            self._maps = torch.cat(held)

    def _with_features(
        self, maps: Tensor, digests: Mapping[nn.Module, bytes], start: int, count: int
    ) -> FeatureMaps:
        """Maps of pictures that follow `start` others of `count`, whose features were told."""
        end, found = start + len(maps), maps.as_subclass(FeatureMaps)
        for block, digest in digests.items():
            rows = self._features[digest]
            if rows.count < end:
                for part in torch.split(maps[rows.count - start :], self._portion):
                    rows.append(in_portion(block, part, self._portion), count)
        found.known = {block: self._features[one].at(start, end) for block, one in digests.items()}
        return found


class _Rows:
    """Features (n, D), one after another."""

    def __init__(self) -> None:
        self.count, self._values = 0, torch.empty(0, 0)

    def append(self, rows: Tensor, expected: int) -> None:
        """Add some; there is room for as many as are expected in all."""
        if expected > len(self._values):
            larger = rows.new_empty(expected, rows.shape[1])
            if self.count:
                larger[: self.count] = self._values[: self.count]
            self._values = larger
        self._values[self.count : self.count + len(rows)] = rows
        self.count += len(rows)

    def at(self, start: int, end: int) -> Tensor:
        return self._values[start:end]


class _Mapped:
    def __init__(self, batches: Callable[[int], Iterator[FeatureMaps]], labels: np.ndarray) -> None:
        self._batches, self._labels = batches, torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        start = 0
        for maps in self._batches(batch_size):
            yield maps, self._labels[start : start + len(maps)].to(maps.device)
            start += len(maps)


def _digest(module: nn.Module) -> bytes:
    found = sha256()
    for name, values in module.state_dict().items():
        found.update(name.encode())
        found.update(values.cpu().numpy().tobytes())
    return found.digest()
