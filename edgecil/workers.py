"""Threads that read, decode and encode pictures: one pool for all classes and all rooms.

Pillow's decoders and encoders leave the interpreter free, so threads are as good as processes.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.limits import usable_cores

PORTION = 16
"""Pictures that a thread takes at a time: handing over a small one costs as much as decoding it."""

T = TypeVar("T")
R = TypeVar("R")

_pool: ThreadPoolExecutor | None = None
_here = threading.local()


def on_all_cores(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of every item, in their order, on as many threads as there are cores.

    Within one of these threads the items are done one after the other, so that a function may use
    this itself.

    Raises:
        Exception: the first that `function` raises.
    """
    return list(each_on_all_cores(function, items))


def each_on_all_cores(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """As `on_all_cores`, but gives each result as soon as it and those before it are there."""
    items = list(items)
    if len(items) < 2 or getattr(_here, "works", False):
        return map(function, items)
    return _threads().map(function, items)


def portions(count: int, size: int = PORTION) -> list[NDArray[np.int64]]:
    """The numbers from 0 to `count` - 1, `size` at a time."""
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(usable_cores(), "pictures", _begin)
    return _pool


def _begin() -> None:
    _here.works = True


def _forget() -> None:
    """A process that was forked has none of the threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
