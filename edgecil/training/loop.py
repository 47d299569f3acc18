"""The training loop: the only one. A method says what a phase trains and with which loss.

Nothing in an epoch waits for the device: losses add up there and are read once, at the end.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgecil.errors import TrainingError, UsageError
from edgecil.methods.lesson import Lesson, Phase
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images, batch_sizes
from edgecil.team import team
from edgecil.training.batchnorm import measure_statistics, uncounted
from edgecil.training.distributed import lead, mean_over_team, shared_step
from edgecil.training.feature_maps import behind_trunk
from edgecil.training.recording import recorded
from edgecil.training.request import DEVICES
from edgecil.training.sgd import SGD


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to."""

    epoch: int
    """Epochs finished, from 1."""
    loss: float
    """Mean training loss."""
    images_per_second: float
    """Training images a second."""
    optimiser: dict[str, Any]
    """The optimiser's state dict."""


def choose_device(name: str) -> torch.device:
    """The torch device that `--device name` means; `auto` takes the fastest there is.

    Of several processes that train together, each takes a graphics card of its own. A graphics card
    computes float32 in full from then on, in this whole process: torch would let its convolutions
    round to TF32, ten bits of 23. Where half precision is good enough, in training, it is bfloat16.

    Raises:
        UsageError: no such name, or this machine has none, or too few.
    """
    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in found.items() if there)
    if name not in DEVICES:
        raise UsageError(f"unknown device {name!r}; choose one of: {', '.join(DEVICES)}")
    if not found[name]:
        raise UsageError(f"this machine has no {name} device; use --device auto")
    if name == "cuda":
        # Not by the newer `fp32_precision`: torch before 2.9 lacks it, and whoever asks for
        # `allow_tf32` after it was used gets an error.
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
    here = team()
    if here.size == 1 or name == "cpu":
        return torch.device(name)
    count = torch.cuda.device_count() if name == "cuda" else 0
    if here.local_rank >= count:
        raise UsageError(
            f"{here.local_size} processes cannot share {max(count, 1)} {name} device(s); "
            "give --nproc-per-node as many as there are CUDA devices, or --device cpu"
        )
    return torch.device(name, here.local_rank)


def half_precision_pays(device: torch.device) -> bool:
    """Whether the processor itself computes in bfloat16, so that autocast is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # torch has no public question for this yet; an absent answer means no.
        answer = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(answer and answer())
    return False


def epoch_seed(seed: int, stage: int, phase: int, epoch: int) -> int:
    """The seed of one epoch: a resumed run draws what the uninterrupted one would have drawn."""
    mixed = seed
    for number in (stage, phase, epoch):
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 1)
    return mixed


def train_phase(
    network: ExpandableNetwork,
    lesson: Lesson,
    phase: Phase,
    images: Images,
    *,
    seeds: Sequence[int],
    finished_epochs: int = 0,
    optimiser_state: dict[str, Any] | None = None,
    after_backward: Callable[[], None] | None = None,
    after_step: Callable[[int, Tensor], None] | None = None,
) -> Iterator[EpochReport]:
    """Train `network` through `phase`, from epoch `finished_epochs` on, one epoch a report.

    After the last epoch the statistics of every BatchNorm that was trained are measured anew.

    Args:
        network: on the training device, as the lesson's extras are.
        lesson: how the task is learned.
        phase: the part of it that is due.
        images: the task's images.
        seeds: one seed an epoch.
        finished_epochs: epochs to skip, when a run is resumed.
        optimiser_state: the optimiser's state after those epochs.
        after_backward: called in every step while the gradients are there.
        after_step: called after every step with its number of images and the sum of the losses of
            the epoch's images so far, (), on the device; reading it waits for the device.

    Yields:
        What each epoch came to, when it is over.

    Raises:
        TrainingError: the loss is not a number.
        RuntimeError: the device's memory is full; see `full_memory_told`.
    """
    device = network.mean.device
    recipe = phase.recipe
    lesson.begin(network, phase)
    trained = [p for module in phase.trained for p in module.parameters()]
    rate = _rate_on(device)
    optimiser = SGD(trained, rate, recipe.momentum, recipe.weight_decay, nesterov=recipe.nesterov)
    if optimiser_state is not None:
        optimiser.load_state_dict(optimiser_state)
    halved = half_precision_pays(device)
    seen = behind_trunk(network, phase, images, epoch_seed(seeds[0], 0, 0, 0), halved=halved)
    sizes = batch_sizes(len(images), recipe.batch_size)
    loss_sum = torch.zeros((), device=device)

    with shared_step(phase.loss, phase.trained) as shared_loss:

        def step(pixels: Tensor, labels: Tensor, size: int) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=halved):
                loss = shared_loss(pixels, labels, size)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if after_backward:
                after_backward()
            optimiser.step()
            loss_sum.add_(loss.detach() * size)

        run = recorded(step, device)
        for epoch in range(finished_epochs, recipe.epochs):
            generator = torch.Generator().manual_seed(seeds[epoch])
            batches = seen.training_batches(recipe.batch_size, generator)
            loss_sum.zero_()
            started, done = time.perf_counter(), 0
            with uncounted(phase.trained):
                for size, (pixels, labels) in zip(sizes, batches, strict=False):
                    rate.fill_(recipe.rate_at((epoch + done / len(images)) / recipe.epochs))
                    run(pixels, labels, size)
                    done += size
                    if after_step:
                        after_step(size, loss_sum)
                mean_loss = mean_over_team(loss_sum).item() / done
            lead(partial(_require_finite, mean_loss, epoch + 1, phase))
            speed = done / (time.perf_counter() - started)
            yield EpochReport(epoch + 1, mean_loss, speed, optimiser.state_dict())
        generator = torch.Generator().manual_seed(seeds[recipe.epochs - 1])
        measure_statistics(shared_loss, phase.trained, seen, generator, recipe.epochs)


def _rate_on(device: torch.device) -> Tensor:
    """A learning rate that can change while what reads it is recorded, ().

    Only a graphics card of NVIDIA's reads it there; elsewhere it is read as a number, of which
    nothing is to be rounded away.
    """
    if device.type == "cuda":
        return torch.zeros((), device=device)
    return torch.zeros((), dtype=torch.float64)


def _require_finite(mean_loss: float, epoch: int, phase: Phase) -> None:
    if not math.isfinite(mean_loss):
        raise TrainingError(
            f"the loss became {mean_loss} in epoch {epoch} of {phase.name}; "
            "begin another run with a lower --learning-rate"
        )
