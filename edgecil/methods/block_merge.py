"""Merging blocks: one block learns to stand for two or more, so that a network need not grow.

It is a phase of a task's lesson, before a new block is added: the merged block starts from one of
those it stands for, and learns, with the head, to give the logits that the network gave before.

Shapes: B images of a batch, D features a block, C old classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.methods.lesson import Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork, frozen_copy


@dataclass(frozen=True)
class BlockMerge:
    """Which blocks of a network are merged, and where the head starts from."""

    groups: tuple[tuple[int, ...], ...]
    """Positions of the old blocks, each in one group; one block stands for each group, and starts
    as the first of it. Groups are in the order of their newest blocks."""
    weight: Tensor | None = None
    """(C, D * groups), of a head that was fitted to the blocks that are kept; None where a
    checkpoint has a later one."""
    bias: Tensor | None = None
    """(C,), likewise."""

    @property
    def merged(self) -> list[int]:
        """Which of the kept blocks stand for several."""
        return [k for k, group in enumerate(self.groups) if len(group) > 1]


def begun(network: ExpandableNetwork, merge: BlockMerge) -> ExpandableNetwork:
    """Leave one block of each group in `network`; a frozen copy of what it was is given back."""
    old = frozen_copy(network)
    network.merge_blocks(merge.groups)
    if merge.weight is not None and merge.bias is not None:
        with torch.no_grad():
            network.head.weight.copy_(merge.weight)
            network.head.bias.copy_(merge.bias)
    return old


def merge_phase(
    network: ExpandableNetwork,
    old: ExpandableNetwork,
    merge: BlockMerge,
    counts: Sequence[int],
    recipe: Recipe,
) -> Phase:
    """How merged blocks are trained.

    The trunk and all other blocks stay as they are. Pictures of new classes help, too: what the
    old network takes them for says as much of it. Every class counts alike. Logits are compared as
    they are: at FOSTER's temperature of 2 those behind a pretrained trunk are nearly level, and
    teach too little (the same merge of thin blocks lost 0.9 points, and 3.2 at 2; from scratch, ten
    blocks merged into four, 0.8 and 0.7; n = 1).

    Args:
        network: grown for the task, its first blocks those that `begun` left.
        old: what `begun` gave back.
        merge: what is merged.
        counts: pictures of every class, those of new ones last.
        recipe: the run's; its compression is what this is.
    """
    known = old.class_count

    def merged_logits(feature_map: Tensor, kept: Callable[[int], Tensor]) -> Tensor:
        features = [
            block(feature_map) if len(group) > 1 else kept(group[0])
            for block, group in zip(network.blocks, merge.groups, strict=False)
        ]
        columns = sum(part.shape[1] for part in features)
        weight, bias = network.head.weight[:known, :columns], network.head.bias[:known]
        return F.linear(torch.cat(features, dim=1), weight, bias)

    def answer(pixels: Tensor) -> Tensor:
        feature_map = old.feature_map(pixels)
        return merged_logits(feature_map, lambda k: old.blocks[k](feature_map))

    rarity = torch.tensor(counts, dtype=torch.float32)
    weights = (rarity.mean() / rarity.clamp(min=1)).to(network.mean.device)

    def loss(pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            feature_map = old.feature_map(pixels)
            kept = old.block_features(pixels, feature_map)
            taught = F.softmax(old.head(torch.cat(kept, dim=1)), dim=1)
        logits = merged_logits(feature_map, kept.__getitem__)
        of_each = F.cross_entropy(logits, taught, reduction="none")
        return (of_each * weights[labels]).mean()

    trained = [*(network.blocks[k] for k in merge.merged), network.head]
    return Phase(
        "merge",
        recipe.compression,
        loss,
        trained,
        behind_trunk=True,
        stays=list(old.blocks),
        answer=answer,
    )
