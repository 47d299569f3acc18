"""What a class-incremental method decides; everything else is the learner's."""

from dataclasses import dataclass

import torch

from edgecil.networks import ExpandableNetwork
from edgecil.training.loop import Phase
from edgecil.training.recipes import Recipe


@dataclass(frozen=True)
class TaskView:
    """The task at hand, as a method sees it."""

    stage: int
    """Counted from 1."""
    known_classes: int
    """Classes learned before this task."""
    new_classes: int
    """Classes of this task; their labels are known_classes, known_classes + 1, ..."""
    first_classes: int
    """Classes of the first task."""

    @property
    def total_classes(self) -> int:
        """Classes after this task."""
        return self.known_classes + self.new_classes


class Method:
    """A way to learn the next task; a subclass says how it differs.

    The learner calls `prepare`, trains the phases one after another, and calls `finish`.
    """

    name: str
    """What `--method` calls it."""

    def blocks_after(self, stage: int) -> int:
        """How many blocks the network keeps after task `stage`: what the planner counts."""
        raise NotImplementedError

    def prepare(self, network: ExpandableNetwork, task: TaskView, recipe: Recipe) -> list[Phase]:
        """Grow and freeze the network for the task, and say what to train.

        In the first task the network comes with one fresh block and a head of the task's size.
        """
        raise NotImplementedError

    def finish(self, network: ExpandableNetwork, task: TaskView) -> None:
        """Correct the trained network, before exemplars are chosen and the state is written."""


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
