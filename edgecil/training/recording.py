"""A training step as a CUDA graph: recorded once for every kind of batch, then replayed.

A step of a small network is hundreds of kernels of a few microseconds each, and to start them one
by one from Python takes longer than they run. A recording starts them all at once. It repeats what
the card did, not what Python did: numbers that Python worked out stay what they were.
"""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecil.networks.streams import WeightGradientsBeside
from edgecil.team import team

Step = Callable[[Tensor, Tensor, int], None]
"""Pixels (B, 3, S, S), labels (B,), and B, of all processes together where there are several."""

MOST_NUMBERS = 3 * 128 * 64 * 64
"""In a batch whose layers leave much of a card idle. Larger ones fill it one by one, and what is
done beside the rest takes memory: all that the gradients of weights are made of, until the end."""

FIRST_STEPS = 3
"""Steps of every kind that run as they are before one is recorded. In them libraries set themselves
up and the optimiser makes its momentum, which a replay would do again and again."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    labels: Tensor

    def replay(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels.copy_(pixels)
        self.labels.copy_(labels)
        self.graph.replay()


EAGER = "EDGECIL_EAGER"
"""Environment variable that is 1 where steps are to be started one by one on every device."""


def records(device: torch.device) -> bool:
    """Whether steps on `device` are recorded.

    Several processes that train together wait for each other within a step; theirs stays as it is.
    """
    return device.type == "cuda" and team().size == 1 and os.environ.get(EAGER) != "1"


def recorded(step: Step, device: torch.device) -> Step:
    """`step` as it is quickest on `device`; every call is one step, of the same kernels in order.

    Args:
        step: what it reads and writes, but for its arguments, stays where it is from call to call,
            and whatever changes between calls is on the device. Nothing in it waits for the device.
        device: where it runs.
    """
    if not records(device):
        return step
    recordings: dict[tuple[object, ...], _Recording] = {}
    calls: Counter[tuple[object, ...]] = Counter()
    # A recording cannot be made on the stream that everything else is on; what runs before one
    # is made on its stream, so that what it finds was made there.
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(pixels: Tensor, labels: Tensor, size: int) -> _Recording:
        made = _Recording(torch.cuda.CUDAGraph(), pixels.clone(), labels.clone())
        # One runs at a time, so that they can share their memory.
        pool = next((other.graph.pool() for other in recordings.values()), None)
        # Threads that pin memory for batches to come may go on meanwhile.
        mode = "thread_local"
        small = pixels.numel() <= MOST_NUMBERS
        beside = WeightGradientsBeside(device) if small else nullcontext()
        with torch.cuda.graph(made.graph, pool=pool, stream=aside, capture_error_mode=mode), beside:
            step(made.pixels, made.labels, size)
        return made

    def run(pixels: Tensor, labels: Tensor, size: int) -> None:
        kind = (size, type(pixels), pixels.shape, pixels.stride(), pixels.dtype)
        calls[kind] += 1
        if calls[kind] <= FIRST_STEPS:
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                step(pixels, labels, size)
            torch.cuda.current_stream().wait_stream(aside)
            return
        if kind not in recordings:
            recordings[kind] = record(pixels, labels, size)
        recordings[kind].replay(pixels, labels)

    return run
