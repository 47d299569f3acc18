"""Recipes: how long and with which optimiser each task is trained, as data.

`published` is what the papers' public code does (PyCIL and the MEMO repository: SGD with momentum
0.9, batch 128, step-wise learning rate); `fast` is a one-cycle schedule of few epochs for a
processor without a graphics card.
"""

from dataclasses import dataclass, replace

from edgecil.errors import UsageError


@dataclass(frozen=True)
class PhaseRecipe:
    """How one phase of training runs."""

    epochs: int
    """Passes over the task's images and the exemplars."""
    learning_rate: float
    """Highest learning rate, for a batch of `batch_size` images."""
    weight_decay: float
    """L2 penalty of SGD, coupled to the learning rate as in torch.optim.SGD."""
    milestones: tuple[float, ...] = ()
    """Fractions of the epochs after which the rate falls to a tenth; none means one-cycle."""
    batch_size: int = 128
    """Images a step."""
    momentum: float = 0.9
    """Momentum of SGD."""
    warm_up: float = 0.25
    """One-cycle only: fraction of the steps in which the rate rises."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs is {self.epochs}; give at least 1")
        if self.batch_size < 2:
            raise UsageError(f"batch size is {self.batch_size}; BatchNorm needs at least 2")

    def rate_at(self, progress: float) -> float:
        """The learning rate at `progress`, the fraction of all steps that are done, in [0, 1]."""
        if self.milestones:
            # Rounding keeps a milestone at the very epoch that the published code names.
            passed = sum(progress >= round(m * self.epochs) / self.epochs for m in self.milestones)
            return float(self.learning_rate * 0.1**passed)
        if progress < self.warm_up:
            return self.learning_rate * (0.1 + 0.9 * progress / self.warm_up)
        return self.learning_rate * (1 - progress) / (1 - self.warm_up)


@dataclass(frozen=True)
class Recipe:
    """How a whole run is trained."""

    first: PhaseRecipe
    """The first task."""
    incremental: PhaseRecipe
    """Every later task."""

    def adapted(
        self,
        *,
        epochs: int | None = None,
        first_epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
    ) -> "Recipe":
        """The same recipe with other numbers; None keeps the recipe's own.

        Milestones stay at the same fractions of the epochs. `first_epochs` overrides `epochs` in
        the first task.
        """

        def changed(phase: PhaseRecipe, phase_epochs: int | None) -> PhaseRecipe:
            return replace(
                phase,
                epochs=phase.epochs if phase_epochs is None else phase_epochs,
                learning_rate=phase.learning_rate if learning_rate is None else learning_rate,
                batch_size=phase.batch_size if batch_size is None else batch_size,
            )

        first = epochs if first_epochs is None else first_epochs
        return Recipe(changed(self.first, first), changed(self.incremental, epochs))


RECIPES = {
    "published": Recipe(
        first=PhaseRecipe(200, 0.1, 5e-4, (60 / 200, 120 / 200, 170 / 200)),
        incremental=PhaseRecipe(170, 0.1, 2e-4, (80 / 170, 120 / 170, 150 / 170)),
    ),
    "fast": Recipe(
        first=PhaseRecipe(20, 0.2, 5e-4),
        incremental=PhaseRecipe(10, 0.1, 2e-4),
    ),
}
"""Recipes by the name that `--recipe` takes."""


def recipe_named(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}")
    return RECIPES[name]
