"""MEMO: one shared trunk, one specialised block a task (Zhou et al., ICLR 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.errors import UsageError
from edgecil.methods.base import Method, TaskView, align_weights
from edgecil.networks import ExpandableNetwork
from edgecil.networks.expandable import new_linear
from edgecil.training.loop import Phase
from edgecil.training.recipes import Recipe

TRUNK_POLICIES = ("auto", "train", "freeze")
"""What `--trunk` takes."""

TRUNK_THRESHOLD_CLASSES = 20
"""`auto` freezes a trunk whose first task had at least this many classes (MEMO, appendix C.2)."""


def auxiliary_targets(labels: Tensor, known_classes: int) -> Tensor:
    """Labels (B,) -> 0 for every old class, 1 ... |Y_b| for the new ones."""
    return (labels - known_classes + 1).clamp(min=0)


@dataclass(frozen=True)
class Memo(Method):
    """MEMO as published: section 4 of the paper, and its code where the text is silent.

    The new block starts from the previous one. Older blocks are frozen, BatchNorm statistics
    included. An auxiliary head over |Y_b|+1 classes, all old classes in one, trains the new block
    alone and is not kept. The new rows of the head are aligned to the old ones at the end.

    With a trunk that goes on training, frozen blocks see a feature map that slowly differs from
    the one they were fitted to, and every update to a device carries the trunk too. With a frozen
    trunk old blocks stay exact, and an update is one block and a head.
    """

    trunk: str = "auto"
    """`train` or `freeze` the trunk after the first task; `auto` follows the paper's rule."""
    auxiliary_weight: float = 1.0
    """Weight of the auxiliary loss."""

    name = "memo"

    def __post_init__(self) -> None:
        if self.trunk not in TRUNK_POLICIES:
            raise UsageError(
                f"unknown trunk policy {self.trunk!r}; choose one of: {', '.join(TRUNK_POLICIES)}"
            )

    def blocks_after(self, stage: int) -> int:
        """One block a task."""
        return stage

    def trains_trunk(self, first_classes: int) -> bool:
        """Whether the trunk goes on training after a first task of `first_classes` classes."""
        if self.trunk == "auto":
            return first_classes < TRUNK_THRESHOLD_CLASSES
        return self.trunk == "train"

    def prepare(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> list[Phase]:
        """Add a block, freeze the others and perhaps the trunk, and train the rest in one phase."""
        if task.stage == 1:
            return [
                Phase("train", recipe.first, lambda x, labels: F.cross_entropy(network(x), labels))
            ]
        network.freeze(*network.blocks)
        network.add_block()
        network.grow_head(task.total_classes)
        if not self.trains_trunk(task.first_classes):
            network.freeze(network.trunk)
        auxiliary = new_linear(network.feature_size, task.new_classes + 1)

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            features = network.block_features(pixels)
            logits = network.head(torch.cat(features, dim=1))
            targets = auxiliary_targets(labels, task.known_classes)
            auxiliary_loss = F.cross_entropy(auxiliary(features[-1]), targets)
            return F.cross_entropy(logits, labels) + self.auxiliary_weight * auxiliary_loss

        extras = nn.ModuleDict({"auxiliary": auxiliary})
        return [Phase("train", recipe.incremental, loss, extras)]

    def finish(self, network: ExpandableNetwork, task: TaskView) -> None:
        """Align the new rows of the head to the old ones."""
        if task.stage > 1:
            align_weights(network.head, task.known_classes)
