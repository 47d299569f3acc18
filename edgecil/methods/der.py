"""DER: a whole new backbone a task, features side by side."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.methods.base import (
    Method,
    TaskView,
    align_weights,
    log_priors,
    rarity_shift,
    shifted,
)
from edgecil.methods.block_merge import begun, merge_phase
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork, new_linear


def auxiliary_targets(labels: Tensor, known_classes: int) -> Tensor:
    """Labels (B,) -> 0 for every old class, 1 ... |Y_b| for the new ones."""
    return (labels - known_classes + 1).clamp(min=0)


@dataclass(frozen=True)
class DER(Method):
    """DER (Yan et al., CVPR 2021), without its pruning, as the public code has it.

    Features of all backbones are concatenated under one head: equation 2 of MEMO (Zhou et al., ICLR
    2023), and its loss equation 3. The new backbone starts from the one before it, which its own
    paper does not say (PyCIL, `models/der.py`). Older ones are frozen, BatchNorm statistics
    included. An auxiliary head over |Y_b|+1 classes, all old classes in one, trains the new
    backbone alone and is not kept. Where the recipe does so, as the published ones do, the new rows
    of the head are aligned to the old ones at the end; elsewhere logits are shifted in training by
    how often each class is seen.

    The trunk is empty, and every block takes the picture itself. Only a trunk that comes pretrained
    is shared; then this is MEMO with a frozen trunk.
    """

    auxiliary_weight: float = 1.0
    """Weight of the auxiliary loss."""

    name = "der"
    cuts: ClassVar[tuple[str, ...]] = ("whole",)

    def blocks_after(self, stage: int) -> int:
        """One block a task."""
        return stage

    def passes(self, stage: int) -> float:
        """Each picture passes through every frozen block, too."""
        return 3 + (stage - 1)

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Merge old blocks where they are too many, add one, and train it, head, perhaps trunk."""
        before = begun(network, task.merge) if task.merge else None
        network.add_block()
        network.grow_head(task.total_classes)
        phases = []
        if task.merge and before:
            phases.append(merge_phase(network, before, task.merge, task.class_counts, recipe))
        auxiliary = new_linear(network.feature_size, task.new_classes + 1)
        device = network.mean.device
        if recipe.aligns:
            shift = rarity_shift(task, device)
        else:
            shift = log_priors(task.class_counts).to(device)

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            features = network.block_features(pixels)
            logits = network.head(torch.cat(features, dim=1))
            targets = auxiliary_targets(labels, task.known_classes)
            auxiliary_loss = F.cross_entropy(auxiliary(features[-1]), targets)
            class_loss = F.cross_entropy(shifted(logits, shift), labels)
            return class_loss + self.auxiliary_weight * auxiliary_loss

        trained = [network.blocks[-1], network.head, auxiliary]
        trains_trunk = self.trains_trunk(task.first_classes) and not network.frozen_trunk
        if trains_trunk:
            trained.append(network.trunk)
        extras = nn.ModuleDict({"auxiliary": auxiliary})
        behind = not trains_trunk
        phases.append(Phase("train", recipe.incremental, loss, trained, behind_trunk=behind))
        return Lesson(phases, extras)

    def trains_trunk(self, first_classes: int) -> bool:
        """Whether the trunk goes on training after a first task of `first_classes` classes."""
        return False

    def finish(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> None:
        """Align the new rows of the head to the old ones, where the recipe does so.

        Not where blocks were merged: the old rows are then fitted to features that others were made
        for, and are as long as that takes, which says nothing of how they compare to new ones.
        Aligned to these, the new classes took all answers (`benchmarks/merging_cifar100.py`).
        """
        if recipe.aligns and task.stage > 1 and not task.is_merged:
            align_weights(network.head, task.known_classes)
