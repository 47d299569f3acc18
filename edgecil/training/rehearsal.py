"""How fast this machine trains, measured before a run starts.

The network of the first task is made, trained on noise for a moment, and thrown away. All that the
run draws comes from seeds that are set later, so its result is the same.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median

import numpy as np
import torch

from edgecil.errors import TrainingError
from edgecil.methods import Method, TaskView, method_named
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import FULL_TASK
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import ResidentImages
from edgecil.team import team
from edgecil.training.distributed import lead
from edgecil.training.forecast import Effort
from edgecil.training.full_memory import full_memory_told
from edgecil.training.loop import half_precision_pays, train_phase
from edgecil.training.recording import records
from edgecil.training.settings import RunSettings
from edgecil.work import work

_FIRST_BATCH = 16
"""Pictures of the first step on a processor: on a slow one it is the only step."""
_SMALLEST_BATCH = 2
"""Pictures of a step, where a process of many gets fewer: alone, BatchNorm would not take one."""
_SECONDS = 0.5
"""How long to measure ..."""
_FROZEN_PASSES = 1.2
"""A step behind a trunk that learns nothing."""
_SHORT_RUN_SECONDS = 600.0
"""... unless the first step, slow as it is, lets the run take less than this."""
_EPOCH_SECONDS = 1.0
"""Of an epoch over noise, of which a card has three: in the first ones steps are recorded."""
_MOST_BATCHES = 64
"""Of such an epoch."""


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
    passes = _FROZEN_PASSES if network.frozen_trunk else method.passes(1)
    lesson = _first_lesson(network, method, settings, max(efforts[0].images, 1))
    pictures = sum(effort.whole for effort in efforts) / passes
    found = seconds_a_picture(network, lesson, settings, pictures)
    if found and records(network.mean.device) and found * pictures > _SHORT_RUN_SECONDS:
        found = _of_an_epoch(network, lesson, settings, found)
    return found and found / passes / team().size


def pace_on(device: torch.device, settings: RunSettings) -> float:
    """Seconds of a forward pass on a device: what `resolve` takes for a pace.

    Returns:
        Infinity where the device's memory is too small.
    """
    with work(f"measuring {settings.backbone}"):
        speed = lead(partial(trained_speed, settings, device))
    return math.inf if speed is None else speed


def trained_speed(settings: RunSettings, device: torch.device) -> float | None:
    """Seconds of a forward pass, as an epoch of the first task takes them, pictures and all.

    Returns:
        None as of `rehearsed_speed`.
    """
    method = method_named(settings.method, trunk=settings.trunk)
    network = settings.state_settings(1, 1).empty_network()
    try:
        with full_memory_told():
            network.to(device).to(memory_format=torch.channels_last)
    except TrainingError:
        return None
    lesson = _first_lesson(network, method, settings, FULL_TASK)
    found = seconds_a_picture(network, lesson, settings, math.inf)
    if found is None:
        return None
    if team().size == 1:  # the others are not asked to train along
        found = _of_an_epoch(network, lesson, settings, found)
    return found / method.passes(1) / team().size


def _first_lesson(
    network: ExpandableNetwork, method: Method, settings: RunSettings, images: int
) -> Lesson:
    classes = len(settings.tasks[0].classes)
    recipe = settings.training_recipe(images)
    return method.prepare(network, TaskView(1, classes, (1,) * classes, 0), recipe)


def _of_an_epoch(
    network: ExpandableNetwork, lesson: Lesson, settings: RunSettings, guessed: float
) -> float:
    """Seconds a picture of the last epoch of a short training; steps alone take `guessed`."""
    device, phase = network.mean.device, lesson.phases[0]
    epochs, batch_size = 3 if device.type == "cuda" else 1, phase.recipe.batch_size
    batches = max(1, min(_MOST_BATCHES, round(_EPOCH_SECONDS / guessed / batch_size)))
    size_px = settings.image_size_px
    shape = (batches * batch_size, size_px, size_px, 3)
    draw, classes = np.random.default_rng(0), len(settings.tasks[0].classes)
    short = replace(phase, recipe=replace(phase.recipe, epochs=epochs))
    try:
        with full_memory_told():
            images = ResidentImages(
                draw.integers(0, 256, shape, np.uint8),
                # Were all of one class, the loss would vanish, and denormal gradients take a
                # processor up to twenty times as long.
                draw.integers(0, classes, shape[0]),
                device,
                mirrors=settings.mirrors,
                augment=settings.augment,
            )
            reports = train_phase(network, lesson, short, images, seeds=range(epochs))
            *_, last = islice(reports, epochs)  # and not the statistics after them
    except TrainingError:
        return guessed  # noise may lead anywhere, and so much of it need not fit
    return 1 / last.images_per_second


def seconds_a_picture(
    network: ExpandableNetwork, lesson: Lesson, settings: RunSettings, pictures: float
) -> float | None:
    """Seconds that a training step takes for each picture of a batch.

    Args:
        network: of the first task, on the training device; it is of no use afterwards.
        lesson: how that task is learned.
        settings: of the run.
        pictures: how many the run will train on in all, each as often as it is seen.

    Returns:
        None where nothing is trained by steps, or where the device's memory is too small.
    """
    if not lesson.phases:
        return None
    try:
        with full_memory_told():
            return _of_steps(network, lesson, settings, pictures)
    except TrainingError:
        return None  # training itself will say so


def _of_steps(
    network: ExpandableNetwork, lesson: Lesson, settings: RunSettings, pictures: float
) -> float:
    """Seconds a picture of a few steps, more and larger ones where the run will be long."""
    phase, device = lesson.phases[0], network.mean.device
    batch_size = max(_SMALLEST_BATCH, phase.recipe.batch_size // team().size)
    lesson.begin(network, phase)
    on_processor, found = device.type == "cpu", list[float]()
    size = min(batch_size, _FIRST_BATCH) if on_processor else batch_size
    if not on_processor:  # half a second for the libraries, of which later steps take none
        _step(phase, size, settings.image_size_px, device)
    began = time.perf_counter()
    found.append(_step(phase, size, settings.image_size_px, device) / size)
    while found[-1] * pictures > _SHORT_RUN_SECONDS and time.perf_counter() - began < _SECONDS:
        if size < batch_size:
            size, found = min(2 * size, batch_size), []
        found.append(_step(phase, size, settings.image_size_px, device) / size)
    return median(found)


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
