"""The choice among arrangements and computations: the one kept, or else measured now.

- Side by side or one graph: measured where threads are several, blocks few and graphs small. With
  many blocks it is side by side: that was not slower, and trying one graph would take half as much
  memory again (ten blocks of ResNet32: 180 MB, not 122).
- The bundle's own computation or another one that the processor admits: the other one, where it
  gives the golden samples' answers and is clearly faster. It is tried alone in memory, after the
  bundle's own, in the arrangement that was faster there.

Shapes: G golden samples, D features a block, C classes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.arrangement import Arrangement, Features, OneGraph, Parts, SideBySide
from edgecil_devices.arrangement_choice import (
    ONE_GRAPH,
    SIDE_BY_SIDE,
    Choice,
    keep_choice,
    read_choice,
)
from edgecil_devices.computation import WINOGRAD
from edgecil_devices.errors import BundleError
from edgecil_devices.golden import Golden
from edgecil_devices.limits import available_bytes
from edgecil_devices.winograd import kernel_bytes

MEASURING_S, MEASURING_EACH_S = 0.2, 0.1
"""How long arrangements are tried together, and how long one computation is; where one try of each
takes longer, it is one try of each."""
HALF_TOLERANCE = 1e-2
"""How far, as a part of the largest, a golden logit may move in half precision. It rounds to one in
2^11, so this is twenty roundings. Ten random blocks of ResNet32 moved by a sixteenth of it with the
kernels for ARM; what computes something else moves by far more."""

_NO_GOLDEN = "the bundle has no golden samples"
_MANY_BLOCKS, _MANY_BLOCKS_A_THREAD = 8, 2
_MOST_BYTES_TRIED = 8_000_000
"""Of graphs that are tried in both arrangements, for a moment both in memory (ResNet32, x86-64:
five blocks, 7 MB, peak at 122 MB; seven, 10 MB, at 144)."""
_CLEARLY_FASTER = 0.95
"""The other computation's part of the time, at most. Less gain is not worth another rounding."""
_MOST_KERNEL_BYTES, _PART_OF_MEMORY = 6_000_000, 0.01
"""Of convolutions by Winograd, or so much of the memory that is available, if that is more. They
take about four times as much on top (for 13 MB 177 MB at the peak instead of 126, x86-64,
onnxruntime 1.32): with 6 MB the 130 MB that suit the smallest board hold, and a Raspberry Pi 4 with
2 GB has room for ten blocks of ResNet32."""


@dataclass(frozen=True)
class Proof:
    """What another computation has to show before it is used."""

    compute: str
    """Which one."""
    tolerance: float
    """How far a golden logit may move, as a part of the largest."""
    golden: Golden | None
    """Without golden samples nothing can be shown."""
    logits_of: Callable[[list[NDArray[np.float32]]], NDArray[np.float32]]
    """From the features of all blocks, K times (G, D), to logits (G, C)."""
    must_be_faster: bool = True
    """False: somebody asked for it."""

    def hindrance(self, parts: Parts) -> str:
        """Why it need not be tried; empty if it may be."""
        if self.golden is None:
            return _NO_GOLDEN
        if self.compute != WINOGRAD:
            return ""
        size_bytes = sum(map(kernel_bytes, (parts.trunk, *parts.blocks)))
        if size_bytes > max(_MOST_KERNEL_BYTES, _PART_OF_MEMORY * (available_bytes() or 0)):
            return "its weights would take too much memory"
        return "" if size_bytes else "it has no 3x3 convolutions of stride 1 with enough channels"

    def objection(self, arrangement: Arrangement) -> str:
        """Why it may not be used; empty if it may."""
        if self.golden is None:  # whatever a file says of this bundle
            return _NO_GOLDEN
        logits = self.logits_of(arrangement.run(self.golden.pixels).of_blocks)
        if not np.isfinite(logits).all():
            return "the golden samples' logits are not finite"
        if (difference := self.golden.difference(logits)) > self.tolerance:
            return f"the golden samples' logits differ by {difference:.1e} of the largest"
        return "" if self.golden.same_classes(logits) else "a golden sample's class is another"


@dataclass(frozen=True)
class Chosen:
    """What was chosen, ready to run."""

    arrangement: Arrangement
    """Runs trunk and blocks."""
    compute: str
    """One of `computation.COMPUTATIONS`."""
    note: str = ""
    """Why another computation is not used, though it was tried or asked for."""


def choose(
    parts: Parts,
    threads: int,
    image_size_px: int,
    kept: Path | None,
    key: str,
    proof: Proof | None = None,
) -> Chosen:
    """The fastest arrangement and computation.

    Args:
        parts: the graphs.
        threads: how many threads may compute at once.
        image_size_px: S.
        kept: the file in which choices are kept; None: none is.
        key: what a choice is kept under.
        proof: what another computation has to show; None: none is tried.

    Raises:
        BundleError: a graph cannot be loaded.
    """
    many = len(parts.blocks) >= max(_MANY_BLOCKS, _MANY_BLOCKS_A_THREAD * threads)
    large = sum(map(len, (parts.trunk, *parts.blocks))) > _MOST_BYTES_TRIED
    settled = threads == 1 or many or large
    if settled and proof is None:
        return Chosen(SideBySide(parts, threads), parts.compute)
    known = read_choice(kept, key) if kept else None
    if known is not None and known.compute == parts.compute:
        arrangement, choice = _made(parts, threads, known), known
    elif known is not None and proof is not None and known.compute == proof.compute:
        arrangement, choice = _otherwise(parts, threads, known, proof, image_size_px)
    else:
        arrangement, choice = _found(parts, threads, image_size_px, proof, settled=settled)
    if kept and choice != known:
        keep_choice(kept, key, choice)
    return Chosen(arrangement, choice.compute, choice.note)


def _found(
    parts: Parts, threads: int, image_size_px: int, proof: Proof | None, *, settled: bool
) -> tuple[Arrangement, Choice]:
    hindrance = proof.hindrance(parts) if proof else ""  # while no network is in memory
    if settled:
        arrangement: Arrangement = SideBySide(parts, threads)
        choice = Choice(SIDE_BY_SIDE, 0.5, parts.compute)  # in this one each part is timed
    else:
        arrangement, choice = _measured(parts, threads, image_size_px)
    if proof is None:
        return arrangement, choice
    if hindrance:
        return arrangement, replace(choice, note=_not_used(proof, hindrance))
    most_ms = inf
    if proof.must_be_faster:
        most_ms = _CLEARLY_FASTER * _typical_ms(arrangement, image_size_px)
    del arrangement  # or two networks would be in memory
    return _otherwise(parts, threads, choice, proof, image_size_px, most_ms)


def _measured(parts: Parts, threads: int, image_size_px: int) -> tuple[Arrangement, Choice]:
    side_by_side = SideBySide(parts, threads)
    one_graph = OneGraph(parts, threads, trunk_share=0)  # known only in the end
    pixels = _pixels(image_size_px)
    apart: list[Features] = []
    whole: list[Features] = []
    start = time.perf_counter()
    while not apart or time.perf_counter() - start < MEASURING_S:
        apart.append(side_by_side.run(pixels))
        whole.append(one_graph.run(pixels))
    # On a busy machine a thread may have to wait for its core, and in one graph all others wait for
    # that thread. The median has this in it, the fastest run has not.
    share = median(run.trunk_ms for run in apart) / median(map(_total_ms, apart))
    if median(map(_total_ms, apart)) <= median(map(_total_ms, whole)):
        return side_by_side, Choice(SIDE_BY_SIDE, share, parts.compute)
    one_graph.trunk_share = share
    return one_graph, Choice(ONE_GRAPH, share, parts.compute)


def _otherwise(
    parts: Parts,
    threads: int,
    choice: Choice,
    proof: Proof,
    image_size_px: int,
    most_ms: float = inf,
) -> tuple[Arrangement, Choice]:
    """By the other computation, arranged as `choice` has it; by the own, if that is no good."""
    try:
        other = _made(replace(parts, compute=proof.compute), threads, choice)
        objection = proof.objection(other)
        if not objection and most_ms < inf and _typical_ms(other, image_size_px) > most_ms:
            objection = "it is not clearly faster here"
        if not objection:
            return other, replace(choice, compute=proof.compute, note="")
        del other
    except BundleError as error:
        objection = str(error)
    choice = replace(choice, compute=parts.compute, note=_not_used(proof, objection))
    return _made(parts, threads, choice), choice


def _not_used(proof: Proof, why: str) -> str:
    return f"{proof.compute} is not used: {why}"


def _made(parts: Parts, threads: int, choice: Choice) -> Arrangement:
    if choice.arrangement == ONE_GRAPH:
        return OneGraph(parts, threads, choice.trunk_share)
    return SideBySide(parts, threads)


def _typical_ms(arrangement: Arrangement, image_size_px: int) -> float:
    pixels = _pixels(image_size_px)
    arrangement.run(pixels)  # the first run has memory to get
    times_ms: list[float] = []
    start = time.perf_counter()
    while not times_ms or time.perf_counter() - start < MEASURING_EACH_S:
        times_ms.append(_total_ms(arrangement.run(pixels)))
    return median(times_ms)


def _pixels(image_size_px: int) -> NDArray[np.uint8]:
    """Some picture, (1, S, S, 3)."""
    return np.resize(np.arange(251, dtype=np.uint8), (1, image_size_px, image_size_px, 3))


def _total_ms(features: Features) -> float:
    return features.trunk_ms + features.blocks_ms
