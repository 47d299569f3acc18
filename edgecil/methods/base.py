"""What a class-incremental method decides; everything else is the learner's.

Shapes in the methods: B images of a batch, C classes, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.data import Split
from edgecil.errors import UsageError
from edgecil.memory.codecs import ImageCodec
from edgecil.memory.exemplars import EncodedPictures
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.sequences import Pictures

Loss = Callable[[Tensor, Tensor], Tensor]
"""Pixels (B, 3, S, S) in 0..255 and labels (B,) -> scalar loss."""


@dataclass(frozen=True)
class TaskView:
    """The task at hand, as a method sees it."""

    stage: int
    """Counted from 1."""
    first_classes: int
    """Classes of the first task."""
    class_counts: tuple[int, ...]
    """Pictures of each class to train on, old classes first: their exemplars."""
    known_classes: int
    """Classes learned before this task; the labels of its own count on from there."""

    @property
    def total_classes(self) -> int:
        """Classes after this task."""
        return len(self.class_counts)

    @property
    def new_classes(self) -> int:
        """Classes of this task."""
        return self.total_classes - self.known_classes


class Method:
    """A way to learn the next task; a subclass says how it differs.

    The learner calls `prepare`, trains the lesson's phases, and calls `finish`.
    """

    name: ClassVar[str]
    """What `--method` calls it."""
    cuts: ClassVar[tuple[str, ...]] = ("last",)
    """Where its backbone may be cut into trunk and block; the first is its own choice."""
    keeps_exemplars: ClassVar[bool] = True
    """Whether pictures of old classes are kept and rehearsed."""
    sees_all_pictures: ClassVar[bool] = False
    """Whether it starts afresh at every task, with all pictures of all classes so far."""
    nearest_mean: ClassVar[bool] = False
    """Whether it is also measured with the nearest mean of exemplars for a classifier."""
    takes_wide_backbones: ClassVar[bool] = False
    """Whether the planner may propose backbones that are wider than the published ones."""

    def with_trunk(self, policy: str) -> Self:
        """The same method with what `--trunk` asks for.

        Raises:
            UsageError: there is no such choice.
        """
        if policy != "auto":
            raise UsageError(f"--trunk is for memo, not {self.name}; leave it out")
        return self

    def blocks_after(self, stage: int) -> int:
        """How many blocks the network keeps after task `stage`: what the planner counts."""
        return 1

    def prepare(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Grow the network for the task, and say how it is learned.

        In the first task the network comes with one fresh block and a head of the task's size, and
        every method learns it in the same way.
        """
        if task.stage == 1:
            return Lesson([Phase("train", recipe.first, classification(network), network.learning)])
        return self.next_lesson(network, task, recipe)

    def as_trained_on(self, new: Split, codec: ImageCodec) -> Pictures:
        """New pictures as the network sees them while it learns them: as it will as exemplars.

        With a lossy codec a network would otherwise learn to tell new classes, seen clean, from old
        ones, seen compressed.

        Args:
            new: the pictures of one new class.
            codec: how exemplars are encoded.
        """
        if codec.lossless:
            return new
        return EncodedPictures.of(new.pixels(), codec, new.aspects)

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """The same, from the second task on."""
        raise NotImplementedError

    def finish(self, network: ExpandableNetwork, task: TaskView) -> None:
        """Correct the trained network, before exemplars are chosen and the state is written."""


def classification(network: ExpandableNetwork) -> Loss:
    """Cross-entropy over all classes."""
    return lambda pixels, labels: F.cross_entropy(network(pixels), labels)


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float = 2.0) -> Tensor:
    """Knowledge distillation: cross-entropy of the old classes' logits with a teacher's.

    The second term of equation 1 of MEMO (Zhou et al., ICLR 2023). The text divides by no
    temperature; the published code divides both sides by 2 and scales the gradient back by nothing.

    Args:
        logits: (B, C), of all classes.
        taught: (B, C_old), the teacher's.
        temperature: what both are divided by.

    Returns:
        The mean over the batch.
    """
    old = logits[:, : taught.shape[1]] / temperature
    return F.cross_entropy(old, F.softmax(taught / temperature, dim=1))


def align_weights(head: torch.nn.Linear, known_classes: int) -> float:
    """Scale the new classes' rows so that their mean norm equals that of the old ones.

    Rows count over all feature columns; biases stay. Source: WA (Zhao et al., CVPR 2020), as used
    by DER and MEMO.

    Returns:
        The factor, mean norm of old rows over mean norm of new rows.
    """
    with torch.no_grad():
        norms = head.weight.norm(dim=1)
        factor = norms[:known_classes].mean() / norms[known_classes:].mean()
        head.weight[known_classes:] *= factor
    return float(factor)
