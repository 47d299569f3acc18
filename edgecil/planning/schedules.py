"""How long a run trains: so many epochs, or so many pictures a task that it ends in a given time.

The planner asks for the pictures that each task shows, since a larger network gains by a longer
training. Where a time is given, every task shows as many as any other: an early task, whose own are
few, then sees them the more often. It counts as much in the average as a late one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgecil.errors import UsageError
from edgecil.methods.recipes import MOST_EPOCHS, PhaseRecipe, Recipe, epochs_for
from edgecil.planning.plans import Demand, Plan
from edgecil.words import duration_in_words

RESERVED = 0.1
"""Of a given time, for what nobody foresees: files, checkpoints, other programs."""

_ONE = PhaseRecipe(1, 0.1, 0.0)
_ONE_EPOCH = Recipe(_ONE, _ONE, _ONE)


class TooShortError(UsageError):
    """A time in which not even one epoch a task is possible.

    Args:
        message: see `EdgecilError`.
        least_seconds: what would do; infinity where none would.
    """

    def __init__(self, message: str, least_seconds: float) -> None:
        super().__init__(message)
        self.least_seconds = least_seconds


class Schedule(Protocol):
    """How much each task trains."""

    def shown(self, demand: Demand, planned: Plan) -> list[float]:
        """Pictures that each task trains on, each as often as it is seen.

        Raises:
            TooShortError: not even one epoch a task is possible.
        """


@dataclass(frozen=True)
class Epochs:
    """As many epochs a task as a recipe has, however long they take."""

    recipe: Callable[[int], Recipe]
    """What it is for a task of so many pictures."""

    def shown(self, demand: Demand, planned: Plan) -> list[float]:
        """See `Schedule`."""
        pictures = task_pictures(demand, planned)
        return [
            n * demand.method.epochs(self.recipe(max(n, 1)), stage)
            for stage, n in enumerate(pictures, start=1)
        ]


def showing(images_a_task: int) -> Epochs:
    """About as many pictures in every task, each as often as it is seen."""
    return Epochs(lambda n: _ONE_EPOCH.adapted(epochs=epochs_for(images_a_task, n)))


@dataclass(frozen=True)
class EqualWork:
    """As many pictures in every task as make the run last `seconds`."""

    seconds: float
    """What there is."""
    seconds_a_pass: Callable[[str], float]
    """Of this machine, for a backbone: of a forward pass of a picture, see `Method.passes`.
    Infinity for one that does not fit its memory."""
    tests_per_class: float
    """Pictures that every class is measured on after each task."""
    tasks: int
    """Those that the run trains; what lies ahead of them up to the horizon is learned later."""

    def images_a_task(self, demand: Demand, planned: Plan) -> int:
        """Pictures that each task is to show.

        Raises:
            TooShortError: not even one epoch a task is possible.
        """
        spent = (1 - RESERVED) * self.seconds
        if (shortest := self.takes(demand, planned, 1)) > spent:
            shortest /= 1 - RESERVED
            if math.isinf(shortest):
                raise TooShortError(
                    f"{planned.backbone} does not fit the memory of the training device; give a "
                    "smaller --batch-size or --image-size, or another --backbone",
                    shortest,
                )
            needed = f"{math.ceil(shortest / 60)}m" if shortest > 60 else f"{math.ceil(shortest)}s"
            raise TooShortError(
                f"{duration_in_words(self.seconds)} are too short for {planned.backbone}: this "
                f"machine needs {needed} for one epoch a task; give --time {needed} or more, a "
                "smaller --backbone or fewer tasks",
                shortest,
            )
        least, most = 1, MOST_EPOCHS * max(task_pictures(demand, planned)) + 1
        while most - least > 1:
            middle = (least + most) // 2
            fits = self.takes(demand, planned, middle) <= spent
            least, most = (middle, most) if fits else (least, middle)
        return least

    def takes(self, demand: Demand, planned: Plan, images_a_task: int) -> float:
        """Seconds of a run that shows so many pictures a task."""
        passes, tests = 0.0, 0.0
        for stage, pictures in enumerate(task_pictures(demand, planned)[: self.tasks], start=1):
            tests += demand.task_sizes[stage - 1] * self.tests_per_class
            phases = demand.method.epochs(_ONE_EPOCH, stage) + demand.merges(stage)
            each = demand.method.passes(min(stage, demand.max_blocks or stage))
            passes += pictures * epochs_for(images_a_task, pictures) * phases * each
            passes += (tests + demand.pictures_of(stage)) * max(1.0, each - 2)
        return passes * self.seconds_a_pass(planned.backbone)

    def shown(self, demand: Demand, planned: Plan) -> list[float]:
        """See `Schedule`."""
        return showing(self.images_a_task(demand, planned)).shown(demand, planned)


def task_pictures(demand: Demand, planned: Plan) -> list[int]:
    """Pictures of each task: its own, and those of tasks before it that are there still."""
    found, kept = [], 0
    for stage in planned.stages:
        new = demand.pictures_of(stage.stage)
        found.append(new + kept)
        kept = kept + new if demand.method.sees_all_pictures else stage.exemplars
    return found
