"""One run on several processes: `torchrun --nproc-per-node N -m -- edgecil train ...`.

The processes compute together what one would have computed alone:

- Every process draws the same batches and the same augmentation, and takes its share of each
  batch (`share_of`). Shares differ by one picture where a batch does not divide, and are empty
  where it has fewer pictures than there are processes.
- The loss of a share is weighted by its size, so that the mean that DistributedDataParallel takes
  over the processes is the gradient of the whole batch's mean loss (`shared_step`).
- BatchNorm takes its statistics over the whole batch (`synchronised`). torch.nn.SyncBatchNorm does
  that on graphics cards only; the one here runs on every device, so that what is tested on a
  processor is what runs on eight cards.

So all processes hold the same network after every step, and it is the network of a single process
but for the order in which floating-point numbers are added.

Process 0 leads (`lead`): it alone writes, speaks, measures, chooses exemplars and looks at the
clock, and the others wait. They read the state from disk as every stage does, so several machines
need a file system that they share. An error or a stop of the leader ends the others with the same
exit code, and torchrun ends all when any of them dies; its own exit code is then always 1.

torchrun takes a bare `--run` for a short form of an option of its own, wherever it stands; `--`
keeps it out.

Without torchrun, or with one process, every function here does what is done alone.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edgecil.networks.layers import batch_norms
from edgecil.team import team

Result = TypeVar("Result")

Step = Callable[[Tensor, Tensor, int], Tensor]
"""This process's share of a batch, pixels (b, 3, S, S) and labels (b,), and the size B of the whole
batch -> scalar, whose mean over the processes is the mean loss of the batch."""

_PATIENCE = timedelta(days=1)
"""How long the others wait for the leader. It measures and chooses exemplars meanwhile, however
long that takes; a process that dies is torchrun's business."""


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Connect the processes of the team, each of which trains on its `device`."""
    here = team()
    if here.size == 1:
        yield
        return
    if not here.leads:
        # Nothing is lost with them, and a handler in Python could not run while they wait.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # The functions of this module take the process group that they find as their default, and
    # DistributedDataParallel imports it. After the group was made, they would keep it for ever, and
    # its threads with it; one that still holds a tensor when Python ends aborts the process.
    import_module("torch.distributed.nn")
    # What the leader says goes over gloo in any case: waiting for it takes no processor.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    yield
    # Not after an error of this process alone: the others might never come to this point.
    dist.destroy_process_group()


def lead(work: Callable[[], Result]) -> Result:
    """Let the leader do `work` while the others wait, and give its result to all.

    Raises:
        SystemExit: in the other processes, if the leader failed; with its exit code.
        Exception: in the leader, whatever `work` raises.
    """
    here = team()
    if here.size == 1:
        return work()
    if not here.leads:
        result, exit_code = _broadcast((None, None))
        if exit_code is not None:
            dist.destroy_process_group()
            raise SystemExit(exit_code)
        return cast(Result, result)
    try:
        result = work()
    except BaseException as error:
        with suppress(RuntimeError):  # the others may be gone
            _broadcast((None, getattr(error, "exit_code", 1)))
        dist.destroy_process_group()
        raise
    _broadcast((result, None))
    return result


def _broadcast(said: tuple[Result | None, int | None]) -> tuple[Result | None, int | None]:
    """What the leader says, result and exit code, in every process."""
    box = [said]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def in_turn(work: Callable[[], Result]) -> Result:
    """Every process does `work`, the leader first: what it downloads, the others find."""
    done: list[Result] = []
    lead(lambda: done.append(work()))
    return done[0] if done else work()


def mean_over_team(number: Tensor) -> Tensor:
    """The mean over all processes of a scalar."""
    here = team()
    if here.size == 1:
        return number
    total = number.clone()
    dist.all_reduce(total)
    return total / here.size


def gathered(parts: Tensor) -> Tensor:
    """What the processes have each a part of, and zeros elsewhere: the whole, to the bit.

    Args:
        parts: contiguous; it is changed.
    """
    if team().size > 1:
        dist.all_reduce(parts.view(torch.uint8))
    return parts


class _SharedLoss(nn.Module):
    """A loss as a module that owns what it trains, which is what DistributedDataParallel takes.

    It owns parameters, not modules: buffers, BatchNorm's statistics, are the same in every process
    anyway and are not sent around.
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], trained: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self._trained = nn.ParameterList(p for module in trained for p in module.parameters())
        self._loss, self._team_size = loss, team().size

    def forward(self, pixels: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        """See `Step`."""
        loss = self._loss(pixels, labels)
        if not len(labels):
            # The mean of nothing is not a number. Going back through it all the same meets the
            # other processes wherever they wait, and adds zeros.
            return loss.nan_to_num(0.0)
        return loss * (self._team_size * len(labels) / batch_size)


@contextmanager
def shared_step(
    loss: Callable[[Tensor, Tensor], Tensor], trained: Sequence[nn.Module]
) -> Iterator[Step]:
    """What computes the loss of a batch, together with all others while the context lasts.

    Args:
        loss: pixels and labels -> the mean loss over them.
        trained: the modules that learn; each of their parameters gets a gradient in every step.
    """
    if team().size == 1:
        yield lambda pixels, labels, _: loss(pixels, labels)
        return
    with synchronised(trained):
        shared = [DistributedDataParallel(_SharedLoss(loss, trained))]
        try:
            yield lambda *batch: cast(Tensor, shared[0](*batch))
        finally:
            # It keeps the process group, and an error keeps the variables of the caller.
            shared.clear()


class _SumOverTeam(torch.autograd.Function):
    """The sum over all processes. Each feels its own loss, so gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum_over_team(gradients[0])


def _sum_over_team(tensor: Tensor) -> Tensor:
    return cast(Tensor, _SumOverTeam.apply(tensor))


@contextmanager
def synchronised(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let every BatchNorm in `modules` see the batches of all processes while the context lasts.

    The layers stay what they are, by name, by class and by content.
    """
    layers = batch_norms(modules)
    for layer in layers:
        layer.forward = partial(_batch_norm, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _batch_norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """`layer` over the pictures of all processes: (b, C, H, W) -> (b, C, H, W).

    b may differ between processes, and be 0. Gradients flow through the statistics of all.
    """
    if not layer.training:
        return nn.BatchNorm2d.forward(layer, x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    positions = (0, 2, 3)
    here = wide.new_full((1,), x.numel() // x.shape[1])
    sums = _sum_over_team(torch.cat([wide.sum(positions), here]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = wide - mean[:, None, None]
    # From the mean, not from a sum of squares, which would lose digits where the mean is large.
    variance = _sum_over_team(centred.square().sum(positions)) / count
    with torch.no_grad():
        momentum = cast(float, layer.momentum)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
        layer.get_buffer("running_mean").lerp_(mean, momentum)
        layer.get_buffer("running_var").lerp_(variance * count / (count - 1), momentum)
    scale = layer.weight * (variance + layer.eps).rsqrt()
    normalised: Tensor = centred * scale[:, None, None] + layer.bias[:, None, None]
    return normalised.to(x.dtype)
