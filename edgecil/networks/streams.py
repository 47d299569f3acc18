"""What a graphics card does at once while a training step is recorded.

A layer of a small network leaves most of a large card idle. Layers that do not wait for each other
go on streams of their own, which become branches of the recorded graph; elsewhere, and on every
other device, they run one after the other. Each does the same arithmetic either way.

While a recording lasts torch gives no memory that was freed on one stream to another, so that all
that has to be seen to is that whoever waits for a result waits for its stream.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Result = TypeVar("Result")


def side_by_side(calls: Sequence[Callable[[], Result]], device: torch.device) -> list[Result]:
    """What each of `calls` gives; they do not depend on each other.

    Going backward, torch takes the streams that it took going forward.

    Args:
        calls: the last of them stays on the stream at hand.
        device: where they run.
    """
    if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        return [call() for call in calls]
    here, found, streams = torch.cuda.current_stream(), [], []
    for call in calls[:-1]:
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            found.append(call())
        streams.append(stream)
    found += [call() for call in calls[-1:]]
    for stream in streams:
        here.wait_stream(stream)
    return found


class WeightGradientsBeside(TorchFunctionMode):
    """Lets the gradients of convolutions' weights be worked out beside all other gradients.

    Going backward, each layer waits for the gradient of the one after it, but nobody waits for the
    gradients of the weights before the end of the step.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._found: list[tuple[Tensor, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take over convolutions whose weights learn, and wait for these at the end."""
        kwargs = kwargs or {}
        if func is F.conv2d and torch.is_grad_enabled():
            return self._convolved(*args, **kwargs)
        out = func(*args, **kwargs)
        if func is Tensor.backward:
            self._give()
        return out

    def _convolved(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        how = (stride, padding, dilation, groups)
        if bias is not None or isinstance(padding, str) or not weight.requires_grad:
            return F.conv2d(x, weight, bias, *how)
        out: Tensor = _Convolution.apply(x, weight, how, self)
        return out

    def work_out(self, weight: Tensor, used: tuple[Tensor, ...], work: Callable[[], Any]) -> None:
        """Start to work out the gradient of a weight from what it `used`."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            gradient = work().to(weight.dtype)
        # What is used stays until then: its memory is the other stream's to give away.
        self._found.append((weight, gradient, *used))

    def _give(self) -> None:
        if not self._found:
            return  # and the other stream is no part of the recording, which must not wait for it
        torch.cuda.current_stream().wait_stream(self._stream)
        for weight, gradient, *_ in self._found:
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        self._found.clear()


class _Convolution(torch.autograd.Function):
    """A convolution in autocast's data type, whose weight gets its gradient on another stream."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, how: tuple[Any, ...], beside: WeightGradientsBeside
    ) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        ctx.weight, ctx.how, ctx.beside, ctx.dtype = weight, how, beside, x.dtype
        x, weight = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, None, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        *pairs, groups = ctx.how
        pairs = [2 * (value,) if isinstance(value, int) else value for value in pairs]
        given = (gradients[0], x, weight, None, *pairs, False, (0, 0), groups)

        def gradient_of(*wanted: bool) -> Any:
            return torch.ops.aten.convolution_backward(*given, (*wanted, False))

        ctx.beside.work_out(ctx.weight, given[:3], lambda: gradient_of(False, True)[1])
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return gradient_of(True, False)[0].to(ctx.dtype), None, None, None
