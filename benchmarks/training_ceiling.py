"""How fast ResNet-32 could be trained if nothing but its convolutions took time.

Claim: on a processor, training cannot be made much faster than it is without faster convolutions.

    python benchmarks/training_ceiling.py

Timed are the forward pass and both halves of the backward pass of every convolution of the network,
each on the input it gets in training, and nothing else: no BatchNorm, no ReLU, no optimiser, no
data. In bfloat16 where the processor itself computes in it, channels last, as the loop trains.
Beside it, in turns, whole training steps. Medians of n passes of each; hardware and versions stand
with the results, `results/training_ceiling.json`. Measure on a machine that does nothing else.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.training.loop import half_precision_pays
from edgecil.training.run import hardware, versions

BATCH, IMAGE_SIZE_PX, CLASSES = 128, 32, 100
CPU = torch.device("cpu")
HALVED = half_precision_pays(CPU)
DTYPE = torch.bfloat16 if HALVED else torch.float32


def convolution_passes(network: ExpandableNetwork, pixels: Tensor) -> list[Callable[[], object]]:
    """For every convolution, a call that runs it forward and backward as training does."""
    passes: list[Callable[[], object]] = []

    def note(layer: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        first = not passes  # the picture needs no gradient
        x, gradient, weight = (
            inputs[0].to(DTYPE),
            torch.randn_like(output, dtype=DTYPE),
            layer.weight,
        )
        # Weights are stored in float32 and rounded in every step, as autocast does.
        stride, padding = list(layer.stride), [1, 1]  # all are 3x3 and padded by one

        def run() -> None:
            w = weight.detach().to(DTYPE)
            F.conv2d(x, w, None, stride, padding)
            mask = [not first, True, False]
            torch.ops.aten.convolution_backward(
                gradient, x, w, None, stride, padding, [1, 1], False, [0, 0], 1, mask
            )

        passes.append(run)

    hooks = [
        module.register_forward_hook(note)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        network(pixels)
    for hook in hooks:
        hook.remove()
    return passes


def training_step(network: ExpandableNetwork, pixels: Tensor) -> Callable[[], object]:
    """A whole step on a batch that is ready."""
    labels = torch.randint(0, CLASSES, (len(pixels),))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=HALVED):
            loss = F.cross_entropy(network(pixels), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()

    torch.manual_seed(0)
    parts = cut_backbone("resnet32")
    network = ExpandableNetwork(parts, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3).train()
    network.to(memory_format=torch.channels_last)
    shape = (BATCH, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    pixels = torch.randint(0, 256, shape).float().contiguous(memory_format=torch.channels_last)
    convolutions, step = convolution_passes(network, pixels), training_step(network, pixels)
    contenders = {
        "convolutions": lambda: [run() for run in convolutions],
        "step": step,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(asked.passes + 2):
        for name, contender in contenders.items():
            started = time.perf_counter()
            contender()
            if number >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - started)
    speeds = {name: BATCH / median(times) for name, times in seconds.items()}
    result = {
        "network": "resnet32",
        "batch": BATCH,
        "dtype": str(DTYPE).removeprefix("torch."),
        "images_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
        "passes": asked.passes,
        "hardware": hardware(CPU),
        "versions": versions(),
    }
    (asked.out / "training_ceiling.json").write_text(
        json.dumps(result, indent=1, allow_nan=False) + "\n"
    )
    for name, speed in speeds.items():
        print(f"{name:<13} {speed:7.0f} images/s")


if __name__ == "__main__":
    main()
