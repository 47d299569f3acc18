"""BatchNorm's statistics, measured once a phase has trained what they belong to.

While a network trains, each BatchNorm normalises by the batch at hand and keeps a running mean of
what it saw, in which every step counts a tenth. After few steps that mean is still of a network
that is no more: three classes of thirty pictures, learned to the last, were kept at chance level.

So the statistics are measured anew on pictures as training shows them, crops and brightness
included ("precise BatchNorm": Wu and Johnson, 2021, section 3). That is what the weights were
fitted to: with pictures as they are instead, accuracy is up to three points lower where a task has
been learned (`benchmarks/small_folders.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from edgecil.networks.layers import batch_norms
from edgecil.pictures.batches import TrainingImages, batch_sizes
from edgecil.training.distributed import Step

PICTURES = 2048
"""How many pictures are looked at: one pass over the task's, or as many of them as this. A task of
fewer than half of this is looked at several times, each with other crops: with 300 crops the
accuracy of so small a task still varied by four points. Training that saw less than that itself is
worth no more looks than it had."""

BATCH_SIZE = 128
"""Pictures at once, whatever the size of training's own batches."""


@contextmanager
def uncounted(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let no BatchNorm in `modules` count its batches while the context lasts.

    Nothing reads the count, and on a graphics card it is an operation of every layer in every step.
    """
    layers = batch_norms(modules)
    counts = [layer.num_batches_tracked for layer in layers]
    try:
        for layer in layers:
            layer.num_batches_tracked = None
        yield
    finally:
        for layer, count in zip(layers, counts, strict=True):
            layer.num_batches_tracked = count


def measure_statistics(
    step: Step,
    trained: Sequence[nn.Module],
    images: TrainingImages,
    generator: torch.Generator,
    epochs: int,
) -> None:
    """Give the BatchNorm layers of `trained` the statistics of pictures as training shows them.

    Nothing is learned, and nothing depends on the statistics that were there before.

    Args:
        step: passes a batch through all that is trained, on all processes of the team.
        trained: modules in training mode.
        images: the task's images.
        generator: draws the pictures and their crops.
        epochs: how often training saw each of them.
    """
    layers = batch_norms(trained)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    wanted = max(PICTURES // 2, min(PICTURES, len(images)))
    wanted = min(wanted, epochs * len(images))
    sizes, seen = batch_sizes(len(images), BATCH_SIZE), 0
    with torch.no_grad():
        while seen < wanted:
            batches = images.training_batches(BATCH_SIZE, generator)
            for size, (pixels, labels) in zip(sizes, batches, strict=False):
                seen += size
                for layer in layers:
                    layer.momentum = size / seen  # the mean over all batches, each by its size
                step(pixels, labels, size)
                if seen >= wanted:
                    break
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
