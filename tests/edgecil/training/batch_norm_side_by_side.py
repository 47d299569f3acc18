"""A BatchNorm on several processes: what each of them got is written to the folder in argv."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from edgecil.team import share_of, team
from edgecil.training.distributed import joined, synchronised

BATCHES = (5, 2)
"""Pictures in the two batches; 3 processes share them as 1+2+2 and 0+1+1."""


def new_layer() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 5.0]))
    return layer


def batch(count: int) -> tuple[Tensor, Tensor]:
    """Maps (count, 4, 3, 2), far from zero, and how much each output counts in the loss."""
    generator = torch.Generator().manual_seed(count)
    maps, weights = torch.randn(2, count, 4, 3, 2, generator=generator, dtype=torch.float64)
    return maps + 100, weights


def passed(layer: nn.BatchNorm2d, maps: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """One step: outputs, and gradients of the sum of weighted outputs."""
    maps.requires_grad_()
    layer.zero_grad()
    outputs = layer(maps)
    (outputs * weights).sum().backward()
    tensors = {
        "outputs": outputs.detach(),
        "maps": maps.grad,
        "weight": layer.weight.grad,
        "bias": layer.bias.grad,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "count": layer.num_batches_tracked,
    }
    return {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with joined(torch.device("cpu")):
        layer, found = new_layer(), []
        with synchronised([nn.Sequential(layer)]):
            for count in BATCHES:
                maps, weights = batch(count)
                share = share_of(count)
                found.append(passed(layer, maps[share].clone(), weights[share]))
        found.append(passed(layer, *batch(3)))  # afterwards it is alone again
        torch.save(found, folder / f"{team().rank}.pt")
