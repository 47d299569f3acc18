"""Small calculations in float64 numpy, and small tasks, for the tests of all methods."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecil.methods import TaskView
from edgecil.methods.recipes import recipe_named
from edgecil.networks import ExpandableNetwork, cut_backbone

RECIPE, PUBLISHED = recipe_named("fast", "memo"), recipe_named("published", "memo")
FIRST_TASK = TaskView(stage=1, first_classes=3, class_counts=(9, 9, 9), known_classes=0)

Floats = NDArray[np.float64]


def network(classes: int = 3, cut: str = "last") -> ExpandableNetwork:
    torch.manual_seed(0)
    parts = cut_backbone("convnet2", cut)
    return ExpandableNetwork(parts, classes, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).eval()


def second_task(first_classes: int = 3, new: int = 2) -> TaskView:
    counts = (4,) * first_classes + (9,) * new
    return TaskView(2, first_classes, class_counts=counts, known_classes=first_classes)


def pictures(count: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32))).float()


def numbers(values: Tensor | Floats) -> Floats:
    array: Any = values.detach().double().numpy() if isinstance(values, Tensor) else values
    return np.asarray(array, np.float64)


def softmax(logits: Tensor | Floats) -> Floats:
    powers = np.exp(numbers(logits))
    return numbers(powers / powers.sum(axis=1, keepdims=True))


def cross_entropy(logits: Tensor | Floats, targets: list[int]) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(targets)), targets]).mean())


def soft_cross_entropy(logits: Tensor | Floats, wanted: Floats) -> float:
    return float(-(wanted * np.log(softmax(logits))).sum(axis=1).mean())
