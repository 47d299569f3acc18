"""iCaRL: rehearsal with knowledge distillation, and the nearest mean of exemplars."""

from torch import Tensor
from torch.nn import functional as F

from edgecil.methods.base import Method, TaskView, distillation_loss
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork, frozen_copy


class ICaRL(Method):
    """iCaRL (Rebuffi et al., CVPR 2017): the network before the task teaches the one after it.

    The loss is cross-entropy plus distillation, equation 1 of MEMO with both weights 1, on new
    pictures and exemplars alike. That is what the public code does (PyCIL, `models/icarl.py`); the
    paper's own binary cross-entropy is not used there. The accuracy of the linear head and that of
    the nearest mean of exemplars are both measured, since published tables do not say which they
    show.
    """

    name = "icarl"
    nearest_mean = True

    def next_lesson(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> Lesson:
        """Train everything, taught by the network as it was."""
        teacher = frozen_copy(network)
        network.grow_head(task.total_classes)
        new_weight, old_weight = self.weights(task)

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            logits = network(pixels)
            taught = distillation_loss(logits, teacher(pixels))
            return new_weight * F.cross_entropy(logits, labels) + old_weight * taught

        stays = list(teacher.blocks)
        return Lesson([Phase("train", recipe.incremental, loss, network.learning, stays=stays)])

    def passes(self, stage: int) -> float:
        """From the second task on a teacher looks at each picture, too."""
        return 3 if stage == 1 else 4

    def weights(self, task: TaskView) -> tuple[float, float]:
        """Weights of cross-entropy and of distillation."""
        return 1.0, 1.0
