"""Recipes: how long and with which optimiser each task is trained, as data.

`published` is what the papers' public code does (PyCIL and the MEMO repository: SGD with momentum
0.9, batch 128, step-wise learning rate), each method with its own epochs; `published-cosine` the
same with the cosine schedule that the scripts of MEMO's later benchmark ask for. `fast` is a
one-cycle schedule of few epochs for a processor without a graphics card, which makes the most of
them by many small steps that look ahead: half a batch takes a processor half the time
(`benchmarks/results/accuracy-per-byte/ablation.md`). `thorough` has as many epochs as a strong
augmentation needs, and that augmentation. `frozen` is for blocks behind a frozen trunk, whose
feature maps are computed once for all epochs (`edgecil.training.feature_maps`).

The last three suit themselves to small tasks, of which a recipe for thousands of pictures would
make a handful of steps: see `PhaseRecipe.for_images`. The published ones are left as published.
"""

import math
from dataclasses import dataclass, replace

from edgecil.errors import UsageError

FULL_TASK = 4000
"""Pictures from which on a task gets no more epochs than its recipe names."""

STEPS_AN_EPOCH = 4
"""Steps that a pass over a small task should have at least."""


MOST_EPOCHS = 200
"""Of a task, however few its pictures: the longest of the published recipes."""


@dataclass(frozen=True)
class PhaseRecipe:
    """How one phase of training runs."""

    epochs: int
    """Passes over the task's images and the exemplars."""
    learning_rate: float
    """Highest learning rate, for a batch of `batch_size` images."""
    weight_decay: float
    """L2 penalty of SGD, coupled to the learning rate as in torch.optim.SGD."""
    schedule: str = "one-cycle"
    """`one-cycle`, `cosine` (falls to 0, epoch by epoch) or `steps`."""
    milestones: tuple[float, ...] = ()
    """Steps only: fractions of the epochs after which the rate falls to a tenth."""
    batch_size: int = 128
    """Images a step."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Whether it looks ahead (Sutskever et al., ICML 2013), as torch.optim.SGD has it."""
    warm_up: float = 0.25
    """One-cycle only: fraction of the steps in which the rate rises."""
    smallest_batch_size: int | None = None
    """What the batches of a small task may shrink to; None for no other than `batch_size`."""
    most_epochs: int | None = None
    """What the epochs of a small task may grow to; None for no other than `epochs`."""
    crops: int | None = None
    """Crops of each picture that are chosen once for all epochs, beside the picture and its mirror
    image, where the trunk is frozen; None for others in every epoch."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs is {self.epochs}; give at least 1")
        if self.batch_size < 2:
            raise UsageError(f"batch size is {self.batch_size}; BatchNorm needs at least 2")

    def for_images(self, count: int) -> "PhaseRecipe":
        """The same recipe as it suits a task of `count` pictures.

        Batches are halved until a pass has at least `STEPS_AN_EPOCH` of them, and the learning rate
        falls with the root of their size. Below `FULL_TASK` pictures the epochs grow with the root
        of what is lacking: a quarter of the pictures is seen twice as often. Found on folders of 2
        to 20 classes with 8 to 200 pictures each (`benchmarks/small_folders.py`).
        """
        batch_size = self.batch_size
        while self.smallest_batch_size and batch_size > self.smallest_batch_size:
            if batch_size * STEPS_AN_EPOCH <= count:
                break
            batch_size //= 2
        epochs = self.epochs
        if self.most_epochs and count < FULL_TASK:
            wanted = round(epochs * math.sqrt(FULL_TASK / count))
            epochs = max(epochs, min(wanted, self.most_epochs))
        slower = math.sqrt(batch_size / self.batch_size)
        return replace(
            self,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate * slower,
        )

    def rate_at(self, progress: float) -> float:
        """The learning rate at `progress`, the fraction of all steps that are done, in [0, 1]."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * self._epoch_at(progress))) / 2
        if self.schedule == "steps":
            # Rounding keeps a milestone at the very epoch that the published code names; none comes
            # before the first is over, however few they are.
            falls = [max(1, round(m * self.epochs)) / self.epochs for m in self.milestones]
            passed = sum(progress >= fall for fall in falls)
            return float(self.learning_rate * 0.1**passed)
        if progress < self.warm_up:
            return self.learning_rate * (0.1 + 0.9 * progress / self.warm_up)
        return self.learning_rate * (1 - progress) / (1 - self.warm_up)

    def _epoch_at(self, progress: float) -> float:
        """The part of the epochs that are over at `progress`."""
        return math.floor(progress * self.epochs + 1e-9) / self.epochs


@dataclass(frozen=True)
class Recipe:
    """How a whole run is trained."""

    first: PhaseRecipe
    """The first task."""
    incremental: PhaseRecipe
    """Every later task."""
    compression: PhaseRecipe
    """FOSTER's second phase of every later task; other methods have none."""
    augmentation: str = "plain"
    """What happens to training pictures where nothing else is asked for."""
    aligns: bool = False
    """Whether DER and MEMO align the new rows of the head to the old ones, as published. If not, it
    is their loss that knows how often each class is seen (`methods.base.log_priors`), which is
    better in short trainings by far (`benchmarks/alignment.py`); long ones were not measured."""

    def adapted(
        self,
        *,
        epochs: int | None = None,
        first_epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        fresh_crops: bool = False,
    ) -> "Recipe":
        """The same recipe with other numbers; None keeps the recipe's own.

        Milestones stay at the same fractions of the epochs. `first_epochs` overrides `epochs` in
        the first task. A named `batch_size` is that of small tasks, too; the learning rate goes
        with its root, unless it is named as well or the recipe is a published one. With
        `fresh_crops` every epoch has its own behind a frozen trunk, too.
        """

        def changed(phase: PhaseRecipe, phase_epochs: int | None) -> PhaseRecipe:
            if batch_size is not None and phase.smallest_batch_size:
                rate = phase.learning_rate * math.sqrt(batch_size / phase.batch_size)
                phase = replace(phase, smallest_batch_size=None, learning_rate=rate)
            return replace(
                phase,
                epochs=phase.epochs if phase_epochs is None else phase_epochs,
                learning_rate=phase.learning_rate if learning_rate is None else learning_rate,
                batch_size=phase.batch_size if batch_size is None else batch_size,
                crops=None if fresh_crops else phase.crops,
            )

        first = epochs if first_epochs is None else first_epochs
        return replace(
            self,
            first=changed(self.first, first),
            incremental=changed(self.incremental, epochs),
            compression=changed(self.compression, epochs),
        )

    def for_images(self, count: int) -> "Recipe":
        """The same recipe as it suits a task of `count` pictures; see `PhaseRecipe.for_images`."""
        return replace(
            self,
            first=self.first.for_images(count),
            incremental=self.incremental.for_images(count),
            compression=self.compression.for_images(count),
        )


def epochs_for(images_a_task: int, pictures: int) -> int:
    """Epochs of a task of so many pictures that is to show about `images_a_task`."""
    return max(1, min(MOST_EPOCHS, round(images_a_task / max(1, pictures))))


def _steps(epochs: int, weight_decay: float, *milestones: int) -> PhaseRecipe:
    fractions = tuple(epoch / epochs for epoch in milestones)
    return PhaseRecipe(epochs, 0.1, weight_decay, "steps", fractions)


_FIRST = _steps(200, 5e-4, 60, 120, 170)
_COMPRESSION = PhaseRecipe(130, 0.1, 0.0, "cosine")

_PUBLISHED = {
    "finetune": Recipe(_FIRST, _steps(80, 2e-4, 40, 70), _COMPRESSION),
    "replay": Recipe(_FIRST, _steps(70, 2e-4, 30, 50), _COMPRESSION),
    "icarl": Recipe(_FIRST, _steps(170, 2e-4, 80, 120), _COMPRESSION),
    "wa": Recipe(_FIRST, _steps(170, 2e-4, 60, 100, 140), _COMPRESSION),
    "foster": Recipe(
        PhaseRecipe(200, 0.1, 5e-4, "cosine"), PhaseRecipe(170, 0.1, 5e-4, "cosine"), _COMPRESSION
    ),
}
_PUBLISHED_EXPANDING = Recipe(_FIRST, _steps(170, 2e-4, 80, 120, 150), _COMPRESSION, aligns=True)
"""DER's and MEMO's; joint training takes the first task's again and again."""

_SMALLEST_BATCH_SIZE = 8


def _short(epochs: int, learning_rate: float, weight_decay: float) -> PhaseRecipe:
    return PhaseRecipe(
        epochs,
        learning_rate,
        weight_decay,
        batch_size=64,
        nesterov=True,
        most_epochs=5 * epochs,
        smallest_batch_size=_SMALLEST_BATCH_SIZE,
    )


_FAST = Recipe(
    first=_short(20, 0.14, 5e-4),
    incremental=_short(10, 0.07, 2e-4),
    compression=_short(10, 0.07, 0.0),
)

_THOROUGH = Recipe(
    first=PhaseRecipe(160, 0.2, 5e-4, smallest_batch_size=_SMALLEST_BATCH_SIZE),
    incremental=PhaseRecipe(100, 0.1, 5e-4, smallest_batch_size=_SMALLEST_BATCH_SIZE),
    compression=PhaseRecipe(100, 0.1, 0.0, smallest_batch_size=_SMALLEST_BATCH_SIZE),
    augmentation="autoaugment+cutout",
    aligns=True,
)

_FROZEN_PHASE = PhaseRecipe(
    20, 0.1, 2e-2, most_epochs=60, smallest_batch_size=_SMALLEST_BATCH_SIZE, crops=0
)
_FROZEN = Recipe(_FROZEN_PHASE, _FROZEN_PHASE, _FROZEN_PHASE)

_OURS = {"fast": _FAST, "thorough": _THOROUGH, "frozen": _FROZEN}

RECIPES = ("fast", "thorough", "frozen", "published", "published-cosine")
"""What `--recipe` takes."""


def recipe_named(name: str, method: str) -> Recipe:
    """The recipe called `name` as it is for the method called `method`.

    Raises:
        UsageError: there is none of that name.
    """
    if name in _OURS:
        return _OURS[name]
    published = _PUBLISHED.get(method, _PUBLISHED_EXPANDING)
    if name == "published":
        return published
    if name == "published-cosine":
        first, incremental = published.first, published.incremental
        return replace(
            published,
            first=replace(first, schedule="cosine"),
            incremental=replace(incremental, schedule="cosine"),
        )
    raise UsageError(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}")
