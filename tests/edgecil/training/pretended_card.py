"""A graphics card that is only pretended, for the CUDA path on machines without one.

A tensor on the card wraps one on the CPU and says that it lies on cuda:0. Every operation runs on
what is wrapped, so that results can be compared with the CPU's bit by bit. As on a card,

- an operation on tensors of both devices raises, and so does numpy();
- whatever makes the program wait for the card is counted, by the place that asks for it;
- whatever adds numbers in the order in which threads come is counted likewise;
- a CUDA graph is a list of operations that were asked for while it was recorded, which changes
  nothing, and a replay does them again where they were, with nothing of Python in between;
- a stream is part of a recording once it waits for one that is, nothing of a recording may wait for
  another, and whatever is part of it must have been waited for at its end.

torch's FakeTensorMode has no values, stops at item(), and cannot go backward without a driver.
What only a card can show stays unseen: kernels that lack a data type, TF32, autocast's own list of
operations, memory, cuDNN, NCCL, speed. So do `FeatureMaps`: a tensor cannot be both.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader

import edgecil

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")

_EDGECIL = str(Path(edgecil.__file__).parent) + os.sep
_aten = torch.ops.aten
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
_COPYING = {_aten.copy_, _aten._to_copy}
_SIZED_BY_CONTENT = {
    _aten._local_scalar_dense,
    _aten.bincount,
    _aten.equal,
    _aten.masked_select,
    _aten.nonzero,
    _aten.repeat_interleave,
    _aten._unique2,
    _aten.unique_consecutive,
    _aten.unique_dim,
}
"""What gives a number to Python, or a tensor whose size the card alone knows."""
_ADDING_IN_NO_ORDER = {
    _aten.cumsum,
    _aten.index_add,
    _aten.index_add_,
    _aten.scatter_add,
    _aten.scatter_add_,
}
"""Not the same bits twice on a card, if they add fractions: see torch's
`use_deterministic_algorithms`."""


@dataclass(frozen=True)
class _Done:
    """An operation of a recording."""

    operation: Any
    args: Any
    kwargs: Any
    out: Any

    def again(self) -> None:
        """Do it once more, and leave its result where it was."""
        out = self.operation(*self.args, **self.kwargs)
        for there, new in zip(tree_leaves(self.out), tree_leaves(out), strict=True):
            if isinstance(there, Tensor) and there.data_ptr() != new.data_ptr():
                there.copy_(new)


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.streams: list[_Stream] = []
        """Those that are part of the recording; the first is the one that it is made on."""
        self.unjoined: set[_Stream] = set()
        """Those of the others that nobody has waited for since they did something."""
        self.done: list[_Done] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._made: set[int] = set()

    def pool(self) -> tuple[int, int]:
        """Nothing depends on it here."""
        return (0, 0)

    def replay(self) -> None:
        """Do again what was recorded."""
        OnCard.card.replays += 1
        for one in self.done:
            one.again()

    def perform(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Do an operation, which is recorded and undone when the recording ends.

        Raises:
            RuntimeError: it is on a stream that is no part of the recording.
        """
        self._is_used(OnCard.card.streams[-1])
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._made | self._before.keys():
                as_it_was = storage.clone()  # type: ignore[no-untyped-call]
                self._before[storage.data_ptr()] = (storage, as_it_was)
        # A number that comes from the processor is what it was when it was asked for.
        args, kwargs = tree_map(_as_it_is, (args, kwargs))
        out = operation(*tree_map(bare, args), **tree_map(bare, kwargs))
        self._made |= {tensor.untyped_storage().data_ptr() for tensor in _tensors(out)}
        self._made -= self._before.keys()
        self.done.append(_Done(operation, tree_map(bare, args), tree_map(bare, kwargs), out))
        return out

    def waits(self, stream: "_Stream", other: "_Stream") -> None:
        """A stream waits for another one, and becomes part of the recording if that one is.

        Raises:
            RuntimeError: what is recorded waits for what is not.
        """
        if other not in self.streams:
            if stream in self.streams:
                raise RuntimeError("dependency created on uncaptured work in another stream")
            return
        if stream not in self.streams:
            self.streams.append(stream)
        self._is_used(stream)
        self.unjoined.discard(other)

    def _is_used(self, stream: "_Stream") -> None:
        if stream not in self.streams:
            raise RuntimeError("operation on a stream that is not captured")
        if stream is not self.streams[0]:
            self.unjoined.add(stream)

    def end(self) -> None:
        """Recording is over.

        Raises:
            RuntimeError: a stream was not waited for.
        """
        if self.unjoined:
            raise RuntimeError("capturing stream has unjoined work")

    def undo(self) -> None:
        """Everything is as it was before the recording."""
        for storage, before in self._before.values():
            storage.copy_(before)


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in `values`, those on the card as what they wrap."""
    return (bare(value) for value in tree_leaves(values) if isinstance(value, Tensor))


def _as_it_is(value: Any) -> Any:
    here = isinstance(value, Tensor) and not isinstance(value, OnCard)
    return value.clone() if here else value


class _Stream:
    """Stands for torch.cuda.Stream, on a card that does one thing after the other anyway."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: "_Stream") -> None:
        """Nothing waits, neither the program nor the card; a recording takes note."""
        if OnCard.card.recording:
            OnCard.card.recording.waits(self, other)


@contextlib.contextmanager
def _on(stream: _Stream) -> Iterator[None]:
    """Stands for torch.cuda.stream."""
    OnCard.card.streams.append(stream)
    try:
        yield
    finally:
        OnCard.card.streams.pop()


@contextlib.contextmanager
def _recording(graph: Graph, *, stream: _Stream, **_: Any) -> Iterator[None]:
    """Stands for torch.cuda.graph."""
    OnCard.card.waited()  # for everything before it
    OnCard.card.recording = graph
    graph.streams.append(stream)
    try:
        with _on(stream):
            yield
        graph.end()
    finally:
        OnCard.card.recording = None
        graph.undo()


class Card:
    """What the program asked of the card."""

    def __init__(self) -> None:
        self.recording: Graph | None = None
        """What operations are added to; None while they are done."""
        self.streams = [_Stream()]
        """The one at hand is the last."""
        self.replays = 0
        """How often a graph was replayed."""
        self.waits: Counter[str] = Counter()
        """How often the program waited for the card, by place: `file.py:function`."""
        self.unordered: Counter[str] = Counter()
        """How often fractions were added in no fixed order, by place."""

    def waited(self) -> None:
        """Count a wait.

        Raises:
            RuntimeError: a graph is being recorded.
        """
        if self.recording:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.waits[_place()] += 1

    def crossed(self) -> None:
        """Something is copied from one device to the other.

        Raises:
            RuntimeError: a graph is being recorded, which would copy from wherever it lay then.
        """
        if self.recording:
            raise RuntimeError("operation not permitted when stream is capturing")

    def perform(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Do an operation on what the tensors wrap; what it gives is not wrapped."""
        if self.recording:
            return self.recording.perform(operation, args, kwargs)
        return operation(*tree_map(bare, args), **tree_map(bare, kwargs))

    def is_asked(self, operation: Any, args: Any, kwargs: Any) -> None:
        """Count what an operation costs.

        Raises:
            RuntimeError: a card would refuse it.
        """
        kind = operation.overloadpacket
        if kind is _aten.copy_:
            blocking = not (len(args) > 2 and args[2])
            if any(not isinstance(end, OnCard) for end in args[:2]):
                self.crossed()
                if blocking:
                    self.waited()
        elif kind in _INDEXING and isinstance(args[0], OnCard):
            indices = [index for index in tree_leaves(args[1]) if isinstance(index, Tensor)]
            if any(not isinstance(index, OnCard) or index.dtype is torch.bool for index in indices):
                self.waited()
            _require_one_device(operation, args[2:])
        elif kind not in _COPYING:
            writes = operation._schema.is_mutable and not isinstance(args[0], OnCard | list)
            _require_one_device(operation, (args, kwargs), numbers_too=writes)
        if kind in _SIZED_BY_CONTENT:
            self.waited()
        if kind in _ADDING_IN_NO_ORDER and args[0].is_floating_point():
            self.unordered[_place()] += 1


def _place() -> str:
    """The function of edgecil that is running."""
    frame: Any = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if file.startswith(_EDGECIL):
            return f"{Path(file).name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "tests"


def _require_one_device(operation: Any, args: Any, numbers_too: bool = False) -> None:
    """Refuse tensors on the CPU; one without dimensions is as good as a number, as an input."""
    for value in tree_leaves(args):
        elsewhere = isinstance(value, Tensor) and not isinstance(value, OnCard)
        if elsewhere and (value.dim() or numbers_too):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! (in {operation})"
            )


class OnCard(Tensor):
    """A tensor that says it lies on the card."""

    card: ClassVar[Card] = Card()
    inner: Tensor  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor, requires_grad: bool = False) -> "OnCard":
        with torch.inference_mode(inner.is_inference()):  # a view is what the viewed is
            # To torch itself it lies on the CPU, or going backward would ask for a driver.
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.size(),
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                layout=inner.layout,
                device=inner.device,
                requires_grad=requires_grad,
            )
        made.inner = inner
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnCard({self.inner!r})"

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnCard":
        if id(self) not in memo:
            made = OnCard(self.inner.clone(), requires_grad=self.requires_grad)
            made._is_param = getattr(self, "_is_param", False)
            memo[id(self)] = made
        found: OnCard = memo[id(self)]
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.card.waited()
        # What `map_location="cpu"` reads.
        return self.inner.detach().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        cls.card.is_asked(func, args, kwargs)
        if kwargs.get("device") is not None:
            kwargs["device"] = CPU
        out = tree_map(_there, cls.card.perform(func, args, kwargs))
        return return_and_correct_aliasing(func, args, kwargs, out)  # type: ignore[no-untyped-call]


def bare(value: Any) -> Any:
    """What a tensor on the card wraps; anything else as it is."""
    return value.inner if isinstance(value, OnCard) else value


def _there(value: Any) -> Any:
    return OnCard(value) if type(value) is Tensor else value


class _Across(torch.autograd.Function):
    """A copy from one device to the other, forward and backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, there: bool) -> Tensor:
        ctx.there = there
        return OnCard(tensor.detach().clone()) if there else bare(tensor).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return (bare(gradients[0]) if ctx.there else OnCard(gradients[0])), None


class _Devices(TorchFunctionMode):
    """Sends what is asked for on `cuda` to the pretended card."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return _moved(*args, **kwargs)
        if func in (Tensor.cpu, Tensor.cuda):
            return _moved(args[0], CPU if func is Tensor.cpu else CUDA)
        if func is Tensor.tolist and isinstance(args[0], OnCard):
            OnCard.card.waited()
            return args[0].inner.tolist()
        device = kwargs.get("device")
        if device is None or torch.device(device).type not in ("cuda", "cpu"):
            return func(*args, **kwargs)
        kwargs["device"] = CPU
        made = func(*args, **kwargs)
        if torch.device(device).type == "cpu":
            return tree_map(bare, made)
        if func in (torch.tensor, torch.as_tensor):
            OnCard.card.waited()
        return tree_map(_there, made)


def _moved(tensor: Tensor, *target: Any, **named: Any) -> Tensor:
    """`Tensor.to`."""
    if target and isinstance(target[0], Tensor):
        target = (target[0].device, target[0].dtype, *target[1:])
    elif target and isinstance(target[0], torch.dtype):
        target = (None, *target)
    names = ("device", "dtype", "non_blocking", "copy")
    asked = dict(zip(names, target, strict=False)) | named
    asked = {name: value for name, value in asked.items() if value is not None}
    if "device" in asked:
        there = torch.device(asked.pop("device")).type == "cuda"
        if there != isinstance(tensor, OnCard):
            if not (there and asked.get("non_blocking")):
                OnCard.card.waited()
            OnCard.card.crossed()
            tensor = _Across.apply(tensor, there)
    return Tensor.to(tensor, **asked) if asked.keys() - {"non_blocking"} else tensor


class _Autocast(torch.amp.autocast_mode.autocast):
    """What is wrapped lies on the CPU, so it is the CPU's autocast that has to be on."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _of_processor(asked: Callable[[str], Any], device_type: str) -> Any:
    return asked("cpu" if device_type == "cuda" else device_type)


@contextlib.contextmanager
def pretended_card(*, bf16: bool = False) -> Iterator[Card]:
    """While it lasts there is one card, `cuda:0`, that may be one for bfloat16."""
    answers: dict[str, Callable[..., object]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda including_emulation=True: bf16,
        "mem_get_info": lambda device=None: (1 << 30, 1 << 30),
        "get_device_name": lambda device=None: "a card that is not there",
        "synchronize": lambda device=None: None,
        "Stream": _Stream,
        "current_stream": lambda device=None: OnCard.card.streams[-1],
        "stream": _on,
        "is_current_stream_capturing": lambda: OnCard.card.recording is not None,
        "CUDAGraph": Graph,
        "graph": _recording,
    }
    future = torch.__future__
    overwrites = future.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, answer)
        patch.setattr(torch, "autocast", _Autocast)
        for name in ("is_autocast_enabled", "get_autocast_dtype"):
            patch.setattr(torch, name, partial(_of_processor, getattr(torch, name)))
        patch.setattr(OnCard, "card", Card())
        # As torch has it at its start, and again after this.
        patch.setattr(torch.backends.cudnn, "allow_tf32", True)
        # No memory is pinned for a card that is not there.
        unpinned = property(lambda loader: False, lambda loader, asked: None)
        patch.setattr(DataLoader, "pin_memory", unpinned, raising=False)
        future.set_overwrite_module_params_on_conversion(True)
        try:
            with _Devices():
                yield OnCard.card
        finally:
            future.set_overwrite_module_params_on_conversion(overwrites)
