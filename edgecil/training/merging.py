"""A merge of blocks in the task at hand: its choice, and what it costs the classes known before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from edgecil.evaluation.results import MergeResult
from edgecil.memory.state import StateSettings
from edgecil.methods import TaskView
from edgecil.methods.block_merge import BlockMerge
from edgecil.methods.lesson import Phase
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images
from edgecil.training.block_choice import MOST_PICTURES, chosen_merge
from edgecil.training.class_features import class_features
from edgecil.training.distributed import lead
from edgecil.work import work

Accuracies = tuple[float | None, ...]


@dataclass
class Merging:
    """The merge that a task begins with."""

    merge: BlockMerge
    """What is merged."""
    tasks: tuple[tuple[int, ...], ...]
    """The tasks, from 0, that each block before it stands for."""
    measure: Callable[[Callable[[Tensor], Tensor]], Accuracies]
    """Logits of the classes known before -> accuracy in percent for each task before."""
    accuracy_by_task: Accuracies | None = field(default=None)
    """What the old tasks have once the merged blocks are trained; None before."""

    def after(self, phase: Phase) -> None:
        """A phase is over: if it was the merge, measure what it cost."""
        if phase.answer and self.accuracy_by_task is None:
            self.accuracy_by_task = lead(partial(self.measure, phase.answer))

    def result(self, before: Accuracies) -> MergeResult | None:
        """What it came to; None where it was not measured.

        Args:
            before: accuracy of each task at the end of the task before.
        """
        if self.accuracy_by_task is None:
            return None
        merged = [group for group in self.merge.groups if len(group) > 1]
        return MergeResult(stood_for(self.tasks, merged), before, self.accuracy_by_task)


def stood_for(
    tasks: Sequence[Sequence[int]], groups: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """The tasks that each group of blocks stands for, `tasks` being those of each block."""
    return tuple(tuple(sorted(t for k in group for t in tasks[k])) for group in groups)


def block_tasks_after(
    task: TaskView, before: StateSettings | None
) -> tuple[tuple[int, ...], ...] | None:
    """The tasks that each block stands for after `task`; None where none was ever merged.

    Args:
        task: the task.
        before: of the state before it; None for the first.
    """
    if before is None or not (task.merge or before.block_tasks):
        return None
    old = before.tasks_of_blocks
    groups = task.merge.groups if task.merge else [(k,) for k in range(len(old))]
    return (*stood_for(old, groups), (task.stage - 1,))


def choose_merge(
    network: ExpandableNetwork, images: Images, counts: Sequence[int], kept: int
) -> BlockMerge:
    """Which blocks of `network` are merged, so that `kept` of them are left.

    Args:
        network: of the task before, on the training device.
        images: the task's, class by class; those of classes that the network knows are looked at,
            or where none of these is kept all.
        counts: how many of each class that it knows.
        kept: blocks that stay.
    """
    counts = counts if sum(counts) else [len(images)]
    each = max(3, MOST_PICTURES // len(counts))
    firsts = np.cumsum(counts) - counts
    picked = [first + np.arange(min(n, each)) for first, n in zip(firsts, counts, strict=True)]
    labels = np.repeat(np.arange(len(counts)), [len(some) for some in picked])
    with work("choosing blocks to merge"):
        features = class_features(network, images, torch.from_numpy(np.concatenate(picked)))
        shape = (len(labels), len(network.blocks), network.feature_size)
        weight, bias = network.head.weight.detach().cpu(), network.head.bias.detach().cpu()
        head = torch.cat([weight, bias[:, None]], dim=1).double().numpy()
        return chosen_merge(features.double().numpy().reshape(shape), labels, head, kept)
