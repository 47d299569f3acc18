"""How fast this machine trains, measured on a few steps before a run starts.

The network of the first task is made, trained on noise for as long as half a second, and thrown
away. All that the run draws comes from seeds that are set later, so its result is the same.
"""

import time
from collections.abc import Sequence

import torch

from edgecil.methods import Method, TaskView
from edgecil.methods.lesson import Lesson, Phase
from edgecil.networks import ExpandableNetwork
from edgecil.team import team
from edgecil.training.forecast import Effort
from edgecil.training.loop import half_precision_pays
from edgecil.training.settings import RunSettings

_FIRST_BATCH = 16
"""Pictures of the first step: on a slow processor it is the only one."""
_SECONDS = 0.5
"""How long to measure ..."""
_FROZEN_PASSES = 1.2
"""A step behind a trunk that learns nothing."""
_SHORT_RUN_SECONDS = 600.0
"""... unless the first step, slow as it is, lets the run take less than this."""


def rehearsed_speed(
    network: ExpandableNetwork, method: Method, settings: RunSettings, efforts: Sequence[Effort]
) -> float | None:
    """Seconds of a forward pass, as a few training steps come to on this machine.

    Args:
        network: for the first task, fresh, on the training device; of no use afterwards.
        method: how it learns.
        settings: the run's.
        efforts: what its tasks take.

    Returns:
        None where nothing is trained by steps, or where the device's memory is too small.
    """
    classes = len(settings.tasks[0].classes)
    passes = _FROZEN_PASSES if network.frozen_trunk else method.passes(1)
    recipe = settings.training_recipe(max(efforts[0].images, 1))
    lesson = method.prepare(network, TaskView(1, classes, (1,) * classes, 0), recipe)
    found = seconds_a_picture(
        network,
        lesson,
        batch_size=recipe.first.batch_size // team().size,
        image_size_px=settings.image_size_px,
        pictures=sum(effort.whole for effort in efforts) / passes,
    )
    return found and found / passes / team().size


def seconds_a_picture(
    network: ExpandableNetwork,
    lesson: Lesson,
    *,
    batch_size: int,
    image_size_px: int,
    pictures: float,
) -> float | None:
    """Seconds that a training step takes for each picture of a batch.

    Args:
        network: of the first task, on the training device; it is of no use afterwards.
        lesson: how that task is learned.
        batch_size: pictures of a step of the run.
        image_size_px: S, their height and width.
        pictures: how many the run will train on in all, each as often as it is seen.

    Returns:
        None where nothing is trained by steps, or where the device's memory is too small.
    """
    if not lesson.phases or batch_size < 1:
        return None
    phase, device = lesson.phases[0], network.mean.device
    lesson.begin(network, phase)
    size = min(batch_size, _FIRST_BATCH)
    try:
        began = time.perf_counter()
        found = _step(phase, size, image_size_px, device) / size
        while found * pictures > _SHORT_RUN_SECONDS and time.perf_counter() - began < _SECONDS:
            size = min(2 * size, batch_size)
            found = _step(phase, size, image_size_px, device) / size
    except torch.OutOfMemoryError:
        return None  # training itself will say so
    return found


def _step(phase: Phase, size: int, image_size_px: int, device: torch.device) -> float:
    """Seconds of one step, forward and back, on noise; weights stay as they are."""
    pixels = torch.randint(0, 256, (size, 3, image_size_px, image_size_px), dtype=torch.uint8)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    pixels = pixels.to(device, memory_format=torch.channels_last)
    began = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=half_precision_pays(device)):
        loss = phase.loss(pixels, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    loss.item()  # waits for the device
    return time.perf_counter() - began
