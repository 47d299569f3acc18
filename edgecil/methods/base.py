"""What a class-incremental method decides; everything else is the learner's.

Shapes in the methods: B images of a batch, C classes, F features.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.data import Split
from edgecil.errors import UsageError
from edgecil.memory.codecs import ImageCodec
from edgecil.memory.exemplars import EncodedPictures
from edgecil.methods.block_merge import BlockMerge
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.sequences import Pictures
from edgecil_devices.closed_form import ClassStatistics

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
    merge: BlockMerge | None = None
    """What becomes of the old blocks before a new one is added; None where all stay."""
    was_merged: bool = False
    """Whether blocks had been merged in a task before."""

    @property
    def is_merged(self) -> bool:
        """Whether blocks have been merged by the end of this task."""
        return self.was_merged or self.merge is not None

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
    keeps_statistics: ClassVar[bool] = False
    """Whether means and covariance of the features of all classes are kept, and say what the head
    is; then only the first task is trained, and every later lesson is without phases."""
    sees_all_pictures: ClassVar[bool] = False
    """Whether it starts afresh at every task, with all pictures of all classes so far."""
    nearest_mean: ClassVar[bool] = False
    """Whether it is also measured with the nearest mean of exemplars for a classifier."""
    price: ClassVar[str] = ""
    """What it gives up from scratch, in a sentence, where that should be known before training."""
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

    def epochs(self, recipe: Recipe, stage: int) -> int:
        """Epochs of task `stage`, of all its phases: what a forecast of the time counts."""
        return (recipe.first if stage == 1 else recipe.incremental).epochs

    def passes(self, stage: int) -> float:
        """What a training step on a picture is worth in task `stage`, in forward passes.

        A pass is one through a whole backbone; forward and back are three. About right is enough:
        a forecast measures how long a pass takes anew in every task.
        """
        return 3

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
        if codec.lossless or not self.keeps_exemplars:
            return new
        return EncodedPictures.of(new, codec)

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """The same, from the second task on."""
        raise NotImplementedError

    def finish(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> None:
        """Correct the trained network, before exemplars are chosen and the state is written."""

    def finish_from(self, network: ExpandableNetwork, statistics: ClassStatistics) -> None:
        """Write the head that follows from the statistics of all classes, where these are kept."""
        raise NotImplementedError


def classification(network: ExpandableNetwork, shift: Tensor | None = None) -> Loss:
    """Cross-entropy over all classes, of logits to which `shift` (C,) is added."""
    return lambda pixels, labels: F.cross_entropy(shifted(network(pixels), shift), labels)


def shifted(logits: Tensor, shift: Tensor | None) -> Tensor:
    """Logits (B, C) with `shift` (C,) added, if there is one; see `rarity_shift`."""
    return logits if shift is None else logits + shift


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


def log_priors(counts: Sequence[int]) -> Tensor:
    """Logarithm of each class's part of the pictures, (C,).

    Added to the logits in training, and left out in use, it takes the imbalance of old classes,
    known by their exemplars, and new ones out of the head (logit adjustment: Menon et al., ICLR
    2021, equation 10, with tau = 1).
    """
    pictures = torch.tensor(counts, dtype=torch.float64)
    return (pictures / pictures.sum()).log().float()


def rarity_shift(task: TaskView, device: torch.device) -> Tensor | None:
    """What is added to the logits in training where new classes have fewer pictures than old ones.

    log(n_c / n) for a new class of n_c pictures, n being those of an old class on average, and 0
    for all others; None where no new class is that rare, as in every published protocol. The head
    is used without it, as with `log_priors`, which bring four classes of 5 pictures, learned after
    ten of 50 exemplars each, 67 % of their test pictures instead of 40, and of all 81 instead of 73
    (memo behind EfficientNet-Lite0, one draw, `benchmarks/rare_classes.py`).
    """
    known = task.class_counts[: task.known_classes]
    if not any(known):
        return None
    usual = sum(known) / len(known)
    new = task.class_counts[task.known_classes :]
    shift = torch.tensor([0.0] * len(known) + [min(0.0, math.log(n / usual)) for n in new])
    return shift.to(device) if shift.any() else None


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
