"""Gradient norms, summed where the gradients are and read once an epoch.

Shapes: L layers that learn.
"""

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from edgecil.networks.newest import NewestBackbone


class GradientNorms:
    """The mean over an epoch's steps of the gradient's L2 norm, layer by layer.

    Args:
        backbone: whose gradients are looked at.
    """

    def __init__(self, backbone: NewestBackbone) -> None:
        self._layers = backbone.layers()
        self._learning: list[str] = []
        self._sums: Tensor | None = None  # (L + 1,), the norms and how many were added

    def add(self) -> None:
        """Count the gradients that lie there now; nothing waits for the device."""
        with torch.no_grad():
            gradients = {
                name: [p.grad for p in layer.parameters() if p.requires_grad and p.grad is not None]
                for name, layer in self._layers.items()
            }
            self._learning = [name for name, found in gradients.items() if found]
            # float32 whatever autocast did: parameters and their gradients are.
            norms = torch.stack([get_total_norm(gradients[name]) for name in self._learning])
            if self._sums is None:
                self._sums = norms.new_zeros(len(norms) + 1)
            # In place, and counted there: Python is not asked again when a step is replayed.
            self._sums[:-1] += norms
            self._sums[-1] += 1

    def take(self) -> dict[str, float]:
        """The means of the steps so far by layer, frozen layers left out; then it starts anew."""
        if self._sums is None:
            return {}
        *sums, steps = self._sums.tolist()
        self._sums.zero_()
        means = [total / steps for total in sums] if steps else []
        return dict(zip(self._learning, means, strict=False))
