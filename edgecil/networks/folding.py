"""BatchNorm taken into the convolution before it.

In evaluation BatchNorm is y = (x - mean) / sqrt(var + eps) * gamma + beta with fixed numbers, which
a convolution can take over. A trunk that is frozen from the start is never anything but in
evaluation, so it is kept without BatchNorm: that saves twelve bytes a channel.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def without_batch_norms(module: Module) -> Module:
    """`module` with each BatchNorm folded into the convolution right before it, in place.

    "Right before" is by the order in which layers were made, which in the networks here is that in
    which they compute. A module on the meta device comes out in its shapes.

    Raises:
        ValueError: a BatchNorm follows no convolution of as many channels.
    """
    before: nn.Module | None = None
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            if not isinstance(before, nn.Conv2d) or before.out_channels != layer.num_features:
                raise ValueError(f"{name} follows no convolution of its own")
            fold_into(before, layer)
            module.set_submodule(name, nn.Identity())
        if not any(layer.children()):
            before = layer
    return module


def fold_into(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let `conv` compute what it and `norm` behind it do; sums are in float64, rounded once."""
    with torch.no_grad():
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        factor = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
        bias: Tensor | float = 0.0 if conv.bias is None else conv.bias.double()
        weight = conv.weight.double() * factor[:, None, None, None]
        conv.weight = nn.Parameter(weight.float())
        conv.bias = nn.Parameter(((bias - mean) * factor + norm.bias.double()).float())
