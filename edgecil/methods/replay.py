"""Replay: exemplars of old classes are learned again beside the new ones."""

from edgecil.methods.base import Method, TaskView, classification, rarity_shift
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork


class Replay(Method):
    """The whole network goes on, with cross-entropy over all classes, exemplars included.

    Source: PyCIL, `models/replay.py`.
    """

    name = "replay"

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Train everything on new pictures and exemplars alike."""
        network.grow_head(task.total_classes)
        loss = classification(network, rarity_shift(task, network.mean.device))
        return Lesson([Phase("train", recipe.incremental, loss, network.learning)])
