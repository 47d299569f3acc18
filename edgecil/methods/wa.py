"""WA: distillation, and the head's new rows aligned to the old ones."""

from edgecil.methods.base import TaskView, align_weights
from edgecil.methods.icarl import ICaRL
from edgecil.methods.recipes import Recipe
from edgecil.networks import ExpandableNetwork


class WA(ICaRL):
    """WA (Zhao et al., CVPR 2020): as iCaRL, with other weights and a corrected head.

    The loss is equation 1 of MEMO with lambda = known classes / all classes, as in WA's paper and
    PyCIL (`models/wa.py`). A later survey's code has cross-entropy + 2 * distillation instead; that
    came after MEMO's tables were made.
    """

    name = "wa"
    nearest_mean = False

    def weights(self, task: TaskView) -> tuple[float, float]:
        """(1 - lambda, lambda)."""
        known = task.known_classes / task.total_classes
        return 1 - known, known

    def finish(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> None:
        """Align the new rows of the head to the old ones."""
        if task.stage > 1:
            align_weights(network.head, task.known_classes)
