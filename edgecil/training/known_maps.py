"""Feature maps of test pictures, kept from one measurement of a run to the next.

Behind a trunk that never learns a test picture has the same map after every task, and the pictures
of a task follow those of the tasks before. So each passes the trunk once, and not once a task.

Shapes: N test pictures, B of a batch, C' x S' x S' feature map.
"""

from collections.abc import Iterator
from hashlib import sha256

import torch
from torch import Tensor, nn

from edgecil.networks import ExpandableNetwork, FeatureMaps
from edgecil.pictures.batches import Batch, Images, PlainImages, resident_limit_bytes
from edgecil.training.feature_maps import PORTION, in_portion


class KnownMaps:
    """The maps that are known so far, as many as memory holds."""

    def __init__(self) -> None:
        self._trunk = b""
        self._maps = torch.empty(0)

    def of(self, network: ExpandableNetwork, images: Images, labels: Tensor) -> PlainImages:
        """The images as maps where the trunk comes pretrained; as they are where it does not.

        Args:
            network: on the device of the images.
            images: test pictures; those of an earlier call come first, or these are the first of
                those.
            labels: of the images, (N,).
        """
        if not network.frozen_trunk or not any(True for _ in network.trunk.parameters()):
            return images
        if (trunk := _digest(network.trunk)) != self._trunk:
            self._trunk, self._maps = trunk, torch.empty(0)
        return _Mapped(self, network, images, labels.to(network.mean.device))

    def batches(
        self, network: ExpandableNetwork, images: Images, batch_size: int
    ) -> Iterator[Tensor]:
        """Maps of all images, in batches of (B, C', S', S'); what was not known is computed."""
        known = self._maps[: len(images)]
        yield from torch.split(known, batch_size) if len(known) else ()
        found, fits = [known] if len(known) else [], True
        rest = torch.arange(len(known), len(images))
        for pixels, _ in images.plain_batches(PORTION, rest):
            maps = in_portion(network.feature_map, pixels)
            all_bytes = len(images) * maps[0].numel() * maps.element_size()
            fits = fits and all_bytes <= resident_limit_bytes(maps.device)
            if fits:
                found.append(maps)
            yield maps
        if fits and len(rest):
            self._maps = torch.cat(found)


class _Mapped:
    def __init__(
        self, known: KnownMaps, network: ExpandableNetwork, images: Images, labels: Tensor
    ) -> None:
        self._known, self._network, self._images = known, network, images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._images)

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        start = 0
        for maps in self._known.batches(self._network, self._images, batch_size):
            yield maps.as_subclass(FeatureMaps), self._labels[start : start + len(maps)]
            start += len(maps)


def _digest(trunk: nn.Module) -> bytes:
    found = sha256()
    for name, values in trunk.state_dict().items():
        found.update(name.encode())
        found.update(values.cpu().numpy().tobytes())
    return found.digest()
