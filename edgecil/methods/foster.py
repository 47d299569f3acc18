"""FOSTER: boost with a second backbone, then compress both into one."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.methods.base import Method, TaskView, distillation_loss
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import (
    ExpandableNetwork,
    frozen_copy,
    grown,
    known_features,
    new_linear,
)

BOOSTING_BETA, COMPRESSION_BETA = 0.96, 0.97
"""How strongly classes with few pictures are favoured, as in PyCIL's `exps/foster.json`."""
TEMPERATURE = 2.0


def class_weights(counts: Sequence[int], beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n) for each class of n pictures, scaled to a mean of 1, (C,).

    A class of none, which a small budget may leave of an old one, counts as one of one.

    Source: effective number of samples (Cui et al., CVPR 2019).
    """
    effective = 1 - beta ** torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    weights = (1 - beta) / effective
    return (weights / weights.mean()).float()


def balanced_distillation_loss(logits: Tensor, taught: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy with the teacher's probabilities after these are weighted by class.

    Args:
        logits: (B, C), the student's.
        taught: (B, C), the teacher's.
        weights: (C,).
    """
    wanted = F.softmax(taught / TEMPERATURE, dim=1) * weights
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    return F.cross_entropy(logits / TEMPERATURE, wanted)


class Foster(Method):
    """FOSTER (Wang et al., ECCV 2022): gradient boosting, then compression.

    Boosting: a new backbone, which starts from the old one, learns beside it what the old one gets
    wrong. Its loss has three terms: cross-entropy of the joint logits, divided by class weights;
    cross-entropy of a head on the new features alone; distillation from the old network.
    Compression: the old network with a grown head learns from both by balanced distillation, with
    no labels. Source: PyCIL, `models/foster.py`, whose weight alignment is off by default and whose
    one beta stands for the original's list that falls from 0.98 to 0.94.

    The public code measures the boosted pair, herds exemplars with its features, and counts the
    bytes of one backbone. Here the compressed network is what herds, and what is kept, counted,
    measured and exported.
    """

    name = "foster"

    def epochs(self, recipe: Recipe, stage: int) -> int:
        """From the second task on those of both phases."""
        return super().epochs(recipe, stage) + (recipe.compression.epochs if stage > 1 else 0)

    def passes(self, stage: int) -> float:
        """Boosting has the old network beside the new one, compression both of them."""
        return 3 if stage == 1 else 4.5

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Boost beside a frozen copy of the network, then compress into the network itself."""
        old = frozen_copy(network)
        network.grow_head(task.total_classes)
        size, frozen = network.feature_size, network.frozen_trunk
        # A trunk that is frozen for good is shared: both backbones begin behind it.
        shallow = nn.Sequential() if frozen else network.trunk
        expansion = copy.deepcopy(nn.Sequential(shallow, network.blocks[0]))
        extras = nn.ModuleDict(
            {
                "expansion": expansion,
                "joint_head": grown(old.head, 2 * size, task.total_classes),
                "new_head": new_linear(size, task.total_classes),
            }
        )

        def boosted(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Logits of both backbones (B, C), and features (B, F) of the old and the new one."""
            feature_map = old.feature_map(pixels)
            (old_features,) = old.block_features(pixels, feature_map)
            new_features = known_features(pixels).get(expansion)
            if new_features is None:
                new_features = expansion(feature_map if frozen else old.normalise(pixels))
            logits = extras["joint_head"](torch.cat([old_features, new_features], dim=1))
            return logits, old_features, new_features

        def boosting_loss(pixels: Tensor, labels: Tensor) -> Tensor:
            logits, old_features, new_features = boosted(pixels)
            return (
                F.cross_entropy(logits / boosting_weights, labels)
                + F.cross_entropy(extras["new_head"](new_features), labels)
                + distillation_loss(logits, old.head(old_features), TEMPERATURE)
            )

        def compression_loss(pixels: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                taught, _, _ = boosted(pixels)
            return balanced_distillation_loss(network(pixels), taught, compression_weights)

        device = network.mean.device
        boosting_weights = class_weights(task.class_counts, BOOSTING_BETA).to(device)
        compression_weights = class_weights(task.class_counts, COMPRESSION_BETA).to(device)
        boosting, both = list(extras.values()), [*old.blocks, expansion]
        phases = [
            Phase("boost", recipe.incremental, boosting_loss, boosting, stays=list(old.blocks)),
            Phase("compress", recipe.compression, compression_loss, network.learning, stays=both),
        ]
        return Lesson(phases, extras)
