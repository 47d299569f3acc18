"""SLDA: class means and one covariance of frozen features; no picture is kept or rehearsed."""

import torch

from edgecil.methods.base import Method, TaskView
from edgecil.methods.lesson import Lesson
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork
from edgecil_devices.closed_form import ClassStatistics


class SLDA(Method):
    """A network that the first task trains and that is frozen then, and a head in closed form.

    A network that comes pretrained up to its features is not even trained by the first task; where
    a thin block stands behind a pretrained trunk, the first task trains that.

    From the second task on nothing is trained: the means, counts and covariance of the features of
    all pictures so far say what the head is (`edgecil_devices.closed_form`), so the order of the
    tasks that follow the first does not matter, and each takes seconds. What is kept of a picture
    is its part in a mean. That is what privacy gains; the price is that the features are those of
    the first task's classes for good, where rehearsal goes on learning
    (`benchmarks/without_pictures.py`). Features of a pretrained network know more than few photos
    teach: there it has no price (`benchmarks/photo_tasks.py`).

    After Deep SLDA (Hayes and Kanan, CVPR workshops 2020), with other shrinkages.
    """

    name = "slda"
    keeps_exemplars = False
    keeps_statistics = True
    price = (
        "slda keeps no pictures, which cost 9 to 11 points in later tasks against replay, and "
        "helped the first task's classes (benchmarks/results/without_pictures.md)"
    )

    def prepare(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """As every method, but that a network that comes pretrained as a whole is not trained."""
        if task.stage == 1 and network.pretrained_block:
            return Lesson([])
        return super().prepare(network, task, recipe)

    def epochs(self, recipe: Recipe, stage: int) -> int:
        """Those of the first task; none in later ones."""
        return recipe.first.epochs if stage == 1 else 0

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Give the head its rows; there is nothing to train."""
        network.grow_head(task.total_classes)
        return Lesson([])

    def finish_from(self, network: ExpandableNetwork, statistics: ClassStatistics) -> None:
        """Write the head that follows from the statistics."""
        rows, biases = statistics.head()
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(rows).float())
            network.head.bias.copy_(torch.from_numpy(biases).float())
