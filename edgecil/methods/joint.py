"""Joint training: the ceiling. At every task all pictures of all classes are there."""

from edgecil.methods.base import Method, TaskView, classification
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork


class Joint(Method):
    """A fresh network for every task, trained on everything seen so far.

    No incremental method: the old tasks' pictures come from the data set, where a class-incremental
    learner must do with what fits its budget. What is kept is one network and no exemplars, so its
    budget says nothing; its accuracy is what a method with that network could reach at best. Every
    task is trained with the recipe of a first one.
    """

    name = "joint"
    keeps_exemplars = False
    sees_all_pictures = True

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Train the fresh network as in a first task."""
        return Lesson([Phase("train", recipe.first, classification(network), network.learning)])
