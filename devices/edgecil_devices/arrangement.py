"""How trunk and blocks share the threads.

- Side by side: the trunk with all threads, then the blocks, which do not need each other, one
  thread each and as many at once as there are threads. A few blocks at a time are one graph: that
  saves a hand-over for each.
- One graph: trunk and blocks one after another, all threads within each operator. It does without
  the hand-over from trunk to blocks, which takes longer than what is gained if blocks are few.

Which is faster depends on the processor, the blocks and the size of the pictures; `choosing`
measures it.

Shapes: N images, S image size, K blocks, D features a block.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecil_devices._onnxruntime import Graph
from edgecil_devices.arrangement_choice import ONE_GRAPH, SIDE_BY_SIDE
from edgecil_devices.computation import FP16, WINOGRAD
from edgecil_devices.errors import BundleError
from edgecil_devices.graphs import joined
from edgecil_devices.half import halved
from edgecil_devices.winograd import with_winograd

_MOST_BLOCKS_A_GRAPH = 4
"""More save hardly any time, and while a graph is loaded it is in memory several times."""


@dataclass(frozen=True)
class Parts:
    """The graphs of a bundle, which fit each other."""

    trunk: bytes
    blocks: tuple[bytes, ...]
    trunk_name: str
    block_names: tuple[str, ...]
    features: tuple[int, ...]
    """D of each block."""
    compute: str
    """One of `computation.COMPUTATIONS`; the graphs are as the bundle has them, whatever it is."""
    keeps_map: bool = False
    """Whether the trunk's feature map is wanted, too."""


@dataclass(frozen=True)
class Features:
    """What the blocks make of some images, and how long that took."""

    of_blocks: list[NDArray[np.float32]]
    """K times (N, D)."""
    trunk_ms: float
    """Milliseconds for all N images."""
    blocks_ms: float
    """Likewise, all blocks together."""
    feature_map: NDArray[np.float32] | None = None
    """(N, M, H, W), where it is wanted."""


class Arrangement(Protocol):
    """Runs trunk and blocks."""

    name: str
    """One of `arrangement_choice.ARRANGEMENTS`."""

    def run(self, pixels: NDArray[np.uint8]) -> Features:
        """From pixels (N, S, S, 3) to features; safe to call from several threads."""
        ...


class OneGraph:
    """Trunk and blocks as one graph with all threads.

    Args:
        parts: the graphs.
        threads: how many threads may compute at once.
        trunk_share: the part of the time to call the trunk's, since the graph is timed as a whole.
    """

    name = ONE_GRAPH

    def __init__(self, parts: Parts, threads: int, trunk_share: float) -> None:
        self._graph = _open(parts, range(len(parts.blocks)), threads, with_trunk=True)
        self._keeps_map = parts.keeps_map
        self.trunk_share = trunk_share

    def run(self, pixels: NDArray[np.uint8]) -> Features:
        """See `Arrangement`."""
        start = time.perf_counter()
        outputs = self._graph.run(pixels)
        total_ms = (time.perf_counter() - start) * 1e3
        trunk_ms = total_ms * self.trunk_share
        blocks_ms = total_ms - trunk_ms
        if self._keeps_map:
            return Features(outputs[1:], trunk_ms, blocks_ms, outputs[0])
        return Features(outputs, trunk_ms, blocks_ms)


class SideBySide:
    """The trunk, then the blocks in groups, one thread each.

    Args:
        parts: the graphs.
        threads: how many threads may compute at once.
    """

    name = SIDE_BY_SIDE

    def __init__(self, parts: Parts, threads: int) -> None:
        groups = _groups(len(parts.blocks), threads)
        self._workers = min(threads, len(groups))
        # The calling thread works too, so the pool has one less.
        self._pool = ThreadPoolExecutor(self._workers - 1) if self._workers > 1 else None
        trunk = _computing(parts.trunk, parts.compute)
        self._trunk = Graph(trunk, parts.trunk_name, threads, parts.compute)
        self._groups = [_open(parts, group, threads // self._workers) for group in groups]

    def run(self, pixels: NDArray[np.uint8]) -> Features:
        """See `Arrangement`."""
        start = time.perf_counter()
        (feature_map,) = self._trunk.run(pixels)
        after_trunk = time.perf_counter()
        of_groups = self._run_groups(feature_map)
        after_blocks = time.perf_counter()
        return Features(
            [features for of_group in of_groups for features in of_group],
            trunk_ms=(after_trunk - start) * 1e3,
            blocks_ms=(after_blocks - after_trunk) * 1e3,
            feature_map=feature_map,
        )

    def _run_groups(self, feature_map: NDArray[np.float32]) -> list[list[NDArray[np.float32]]]:
        found: list[Any] = [None] * len(self._groups)
        remaining = iter(range(len(self._groups)))

        def work(remaining: Iterator[int]) -> None:
            for index in remaining:  # each thread takes the next group when it is done with one
                found[index] = self._groups[index].run(feature_map)

        others: list[Future[None]] = []
        if self._pool is not None:
            others = [self._pool.submit(work, remaining) for _ in range(self._workers - 1)]
        work(remaining)
        for other in others:
            if not other.cancel():  # one that has not begun would find nothing left
                other.result()
        return found


def _groups(blocks: int, threads: int) -> list[range]:
    """The blocks in order, in groups of nearly equal size, of which each thread has as many."""
    rounds = -(-blocks // (threads * _MOST_BLOCKS_A_GRAPH))
    count = min(blocks, threads * rounds)
    bounds = [round(index * blocks / count) for index in range(count + 1)]
    return [range(first, end) for first, end in pairwise(bounds)]


def _open(parts: Parts, chosen: Sequence[int], threads: int, *, with_trunk: bool = False) -> Graph:
    """Some of the blocks as one graph, behind the trunk or without it."""
    names = [parts.block_names[k] for k in chosen]
    models = [parts.blocks[k] for k in chosen]
    trunk = parts.trunk if with_trunk else None
    with_map = with_trunk and parts.keeps_map
    name = f"{parts.trunk_name if with_trunk else names[0]} to {names[-1]}"
    try:
        model = _computing(joined(trunk, models, with_map=with_map), parts.compute)
        graph = Graph(model, name, threads, parts.compute)
    except BundleError:
        for one, model in zip(names, models, strict=True):  # which of them is it?
            Graph(model, one, 1, parts.compute)
        raise
    expected = [(parts.features[k],) for k in chosen]
    if [shape[1:] for shape in graph.output_shapes[with_map:]] != expected:
        raise BundleError(f"{name} do not give the features they should; export the bundle again")
    return graph


def _computing(model: bytes, compute: str) -> bytes:
    """The graph, as it is or turned into one that computes so."""
    if compute == FP16:
        return halved(model)
    return with_winograd(model) if compute == WINOGRAD else model
