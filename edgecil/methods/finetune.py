"""Fine-tuning: the floor. Nothing is rehearsed and nothing guards what was learned."""

from torch import Tensor
from torch.nn import functional as F

from edgecil.methods.base import Method, TaskView
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork


class Finetune(Method):
    """The whole network goes on with the new classes alone.

    As PyCIL's `models/finetune.py` has it, the loss is cross-entropy over the new classes' logits
    only, so that the rows of old classes are moved by nothing but weight decay.
    """

    name = "finetune"
    keeps_exemplars = False

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Train everything on the new classes."""
        network.grow_head(task.total_classes)

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            new_logits = network(pixels)[:, task.known_classes :]
            return F.cross_entropy(new_logits, labels - task.known_classes)

        return Lesson([Phase("train", recipe.incremental, loss, network.learning)])
