"""Stochastic gradient descent with momentum: torch's own step, without torch's optimiser around it.

The first `torch.optim.SGD` of a process loads torch's compiler, which is never used here: 1.2 s
before anything is learned. Its step is public by itself, and its bits are the same.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

_MOMENTUM = "momentum_buffer"


class SGD:
    """SGD with momentum and weight decay, in one fused call a step.

    Args:
        parameters: what learns.
        rate: the learning rate, (), which may change between steps; on a graphics card a tensor
            there, so that a recorded step reads it.
        momentum: 0 to 1.
        weight_decay: L2 penalty, coupled to the rate.
        nesterov: whether the momentum looks ahead.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: Tensor,
        momentum: float,
        weight_decay: float,
        *,
        nesterov: bool = False,
    ) -> None:
        self._parameters, self._rate = [*parameters], rate
        self._momentum, self._weight_decay = momentum, weight_decay
        self._nesterov = nesterov
        self._buffers: list[Tensor | None] = [None] * len(self._parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [(n, p, p.grad) for n, p in enumerate(self._parameters) if p.grad is not None]
        buffers = [self._buffers[n] for n, _, _ in moved]
        sgd(
            [parameter for _, parameter, _ in moved],
            [gradient for _, _, gradient in moved],
            buffers,  # those that are not there yet it puts in
            fused=True,
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=self._rate,
            dampening=0,
            nesterov=self._nesterov,
            maximize=False,
        )
        for (n, _, _), buffer in zip(moved, buffers, strict=True):
            self._buffers[n] = buffer

    def state_dict(self) -> dict[str, Any]:
        """The momentum, as `torch.optim.SGD` has it in its own."""
        return {"state": {n: {_MOMENTUM: b} for n, b in enumerate(self._buffers) if b is not None}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a momentum that was kept."""
        for n, kept in state["state"].items():
            self._buffers[n] = kept[_MOMENTUM].to(self._parameters[n].device)
