"""Session accuracy, accuracy by task, and their averages.

Shapes: N test images, C classes.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import PlainImages
from edgecil.work import work


def predicted_labels(
    network: ExpandableNetwork,
    images: PlainImages,
    logits: Callable[[Tensor], Tensor] | None = None,
) -> np.ndarray:
    """The label of the highest logit for every image, (N,) int64; full precision, no crops.

    `logits` turns pixels (B, 3, S, S) into (B, C); the network's own head does if it is None.
    """
    logits = logits or network
    network.eval()
    found = []
    with torch.inference_mode(), work("evaluating", len(images)) as done:
        for pixels, _ in images.plain_batches(256):
            found.append(logits(pixels).argmax(1).cpu())
            done(len(pixels))
    labels: np.ndarray = torch.cat(found).numpy()
    return labels


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, class_count: int) -> np.ndarray:
    """How many images of each class (row) were taken for which (column), (C, C) int64."""
    cells = np.bincount(labels * class_count + predicted, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


def percent_correct(labels: np.ndarray, predicted: np.ndarray) -> float | None:
    """Top-1 accuracy in percent; None without images."""
    return float(100 * np.mean(labels == predicted)) if len(labels) else None


def accuracy_by_task(
    labels: np.ndarray, predicted: np.ndarray, task_sizes: Sequence[int]
) -> list[float | None]:
    """Top-1 accuracy in percent over all classes seen, for the images of each task.

    Labels count through the tasks: the first `task_sizes[0]` belong to the first task. A task of
    which a class has no images has None: what covers a part of it compares with nothing.
    """
    task_of = np.repeat(np.arange(len(task_sizes)), task_sizes)  # by label
    measured = np.bincount(task_of[np.unique(labels)], minlength=len(task_sizes))
    found: list[float | None] = []
    for task, size in enumerate(task_sizes):
        of_task = task_of[labels] == task
        whole = measured[task] == size
        found.append(percent_correct(labels[of_task], predicted[of_task]) if whole else None)
    return found
