"""The expandable network: one trunk, K blocks, concatenated features, one head that grows.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from edgecil.networks.backbones import Parts
from edgecil.networks.streams import side_by_side

Module = TypeVar("Module", bound=nn.Module)


class FeatureMaps(Tensor):
    """What the trunk makes of pictures, (N, C', S', S'), given to a network in place of these.

    A loss that is written for pixels takes them as well: the network goes on behind its trunk.

    Attributes:
        known: of blocks that stay as they are, what they make of these maps, (N, D): a network that
            has one of them does not compute it again. Lost where a tensor is made of this one, but
            for a clone.
    """

    known: Mapping[nn.Module, Tensor] = MappingProxyType({})

    def clone(self, **options: Any) -> "FeatureMaps":
        """As of any tensor, with what is known."""
        copied = super().clone(**options).as_subclass(FeatureMaps)
        copied.known = {block: features.clone() for block, features in self.known.items()}
        return copied

    def copy_(self, other: Tensor, non_blocking: bool = False) -> "FeatureMaps":
        """As of any tensor; the other must know as much as this one."""
        super().copy_(other, non_blocking)
        for block, features in self.known.items():
            assert isinstance(other, FeatureMaps)
            features.copy_(other.known[block], non_blocking)
        return self


def known_features(pixels: Tensor) -> Mapping[nn.Module, Tensor]:
    """What is known of blocks: nothing where pictures are given as pixels; see `FeatureMaps`."""
    return pixels.known if isinstance(pixels, FeatureMaps) else {}


def new_linear(features: int, outputs: int) -> nn.Linear:
    """A linear layer with the field's usual start: Kaiming-uniform weights and zero bias."""
    layer = nn.Linear(features, outputs)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    nn.init.zeros_(layer.bias)
    return layer


def grown(head: nn.Linear, features: int, outputs: int) -> nn.Linear:
    """A larger head on the same device: old rows keep their old columns and biases.

    New rows, and the new columns of old rows, start at random, as the published code has it (PyCIL,
    `utils/inc_net.py`).
    """
    larger = new_linear(features, outputs).to(head.weight.device)
    with torch.no_grad():
        larger.weight[: head.out_features, : head.in_features] = head.weight
        larger.bias[: head.out_features] = head.bias
    return larger


def frozen_copy(module: Module) -> Module:
    """A copy that answers and never learns: evaluation mode, no gradients."""
    return copy.deepcopy(module).eval().requires_grad_(False)


class ExpandableNetwork(nn.Module):
    """A trunk phi_g, blocks phi_s and a head W: logits = W [phi_s1(phi_g(x)), ..., phi_sK(...)].

    Source: MEMO (Zhou et al., ICLR 2023), equation 5.

    Args:
        parts: the backbone, cut into trunk and block.
        class_count: C, at least 1.
        block_count: K, at least 1.
        mean: channel means of pixels scaled to [0, 1], for normalisation.
        std: channel standard deviations, likewise.

    Attributes:
        frozen_trunk: whether the trunk is frozen from the start and for good: it came pretrained.
        pretrained_block: whether its first block came pretrained, too.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        parts: Parts,
        class_count: int,
        block_count: int = 1,
        *,
        mean: Iterable[float],
        std: Iterable[float],
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)), persistent=False)
        self.feature_size = parts.feature_size
        self.frozen_trunk, self.pretrained_block = parts.frozen_trunk, parts.pretrained_block
        self.trunk = parts.trunk()
        if self.frozen_trunk:
            self.trunk.requires_grad_(False).eval()
        self.blocks = nn.ModuleList(parts.block() for _ in range(block_count))
        self.head = new_linear(block_count * parts.feature_size, class_count)

    @property
    def class_count(self) -> int:
        """C, the classes the head tells apart."""
        return self.head.out_features

    @property
    def learning(self) -> list[nn.Module]:
        """What a method trains that trains everything: all but a trunk that is frozen for good."""
        return [self.blocks, self.head] if self.frozen_trunk else [self]

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that a trunk that is frozen for good stays in evaluation mode."""
        super().train(mode)
        if self.frozen_trunk:
            self.trunk.eval()
        return self

    def add_block(self) -> None:
        """Append a block that starts from the weights of the one before it."""
        self.blocks.append(copy.deepcopy(self.blocks[-1]))

    def merge_blocks(self, groups: Sequence[Sequence[int]]) -> None:
        """Keep one block of each group, its first, with the columns of the head that belong to it.

        Args:
            groups: positions of blocks, each in one group; the order of groups becomes the blocks'.
        """
        kept = [group[0] for group in groups]
        self.blocks = nn.ModuleList(self.blocks[k] for k in kept)
        size, old = self.feature_size, self.head
        columns = torch.cat([torch.arange(k * size, (k + 1) * size) for k in kept])
        self.head = new_linear(len(columns), old.out_features).to(old.weight.device)
        with torch.no_grad():
            self.head.weight.copy_(old.weight[:, columns.to(old.weight.device)])
            self.head.bias.copy_(old.bias)

    def grow_head(self, class_count: int) -> None:
        """Give the head `class_count` rows and a column for every feature of every block."""
        self.head = grown(self.head, len(self.blocks) * self.feature_size, class_count)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..255, uint8 or float, (N, 3, S, S) -> normalised float, same shape."""
        scale = 1 / (255 * self.std)
        shift = -self.mean / self.std
        return pixels * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1)

    def feature_map(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> what the trunk makes of them, (N, C', S', S').

        `FeatureMaps` are that already.
        """
        if isinstance(pixels, FeatureMaps):
            return pixels.as_subclass(Tensor).to(self.mean.dtype)
        found: Tensor = self.trunk(self.normalise(pixels))
        return found

    def block_features(self, pixels: Tensor, feature_map: Tensor | None = None) -> list[Tensor]:
        """Pixels (N, 3, S, S) in 0..255 -> K tensors of features (N, D), oldest block first.

        Args:
            pixels: the pictures, or their `FeatureMaps`.
            feature_map: what the trunk made of them, where that is at hand.
        """
        feature_map = self.feature_map(pixels) if feature_map is None else feature_map
        known = known_features(pixels)
        missing = [block for block in self.blocks if block not in known]
        computed = side_by_side([partial(b, feature_map) for b in missing], feature_map.device)
        found = dict(zip(missing, computed, strict=True))
        return [known[block] if block in known else found[block] for block in self.blocks]

    def features(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> concatenated features (N, K*D)."""
        return torch.cat(self.block_features(pixels), dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> logits (N, C)."""
        logits: Tensor = self.head(self.features(pixels))
        return logits
