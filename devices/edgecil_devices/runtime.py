"""A bundle's graphs put together: the trunk once, the blocks side by side, the head in numpy.

Shapes: N images, S image size, K blocks, D features a block, F = K*D features in all, C classes.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil_devices._onnxruntime import Graph, Port, require_version
from edgecil_devices.bundle import Bundle
from edgecil_devices.errors import BundleCorruptError, BundleError, UsageError
from edgecil_devices.manifest import NEAREST_MEAN, Blob, Manifest

PIXELS, FEATURE_MAP, FEATURES = "pixels", "feature_map", "features"
"""What the graphs call their inputs and outputs: pixels -> feature_map -> features."""

_MOST_THREADS_UNASKED = 4
_LEAST_LENGTH = np.float32(1e-12)
"""Features that are all zero stay so."""
_BUNDLE_IS_BAD = "; export the bundle again"


@dataclass(frozen=True)
class Inference:
    """Logits, and how long each part took."""

    logits: NDArray[np.float32]
    """(N, C)."""
    trunk_ms: float
    """Milliseconds for all N images."""
    blocks_ms: float
    """Likewise, all blocks together."""
    head_ms: float
    """Likewise."""


class Runtime:
    """Runs a bundle on pixels. Safe to call from several threads.

    Args:
        bundle: what to run; not needed any more afterwards.
        threads: how many threads may compute at once; None: one a core, four at most.

    Raises:
        BundleError: the graphs cannot be loaded, or are not what the manifest says.
        UsageError: `threads` is below one.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        manifest = bundle.manifest
        require_version(manifest.min_onnxruntime)
        self.threads = _available_threads() if threads is None else threads
        if self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")

        # Blocks do not depend on each other, so each takes one thread and as many as there are
        # threads run at once. Only with threads to spare are they used within a block.
        self._workers = min(self.threads, len(manifest.blocks))
        threads_per_block = self.threads // self._workers
        # The calling thread works too, so the pool has one less.
        self._pool = ThreadPoolExecutor(self._workers - 1) if self._workers > 1 else None

        self._pixels_shape = (manifest.preprocessing.image_size_px,) * 2 + (3,)
        self._trunk = _open(bundle, manifest.trunk, self.threads)
        self._blocks = [_open(bundle, block, threads_per_block) for block in manifest.blocks]
        self._check_shapes(manifest)
        self._weight, self._bias = _read_head(bundle)
        self._unit_features = manifest.head.role == NEAREST_MEAN

    def run(self, pixels: NDArray[np.uint8]) -> Inference:
        """Pixels (N, S, S, 3), RGB, to logits. All N are in memory at once, so keep N moderate.

        Raises:
            UsageError: the pixels have another shape or type.
            BundleError: the weights give values that are not finite.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != self._pixels_shape:
            raise UsageError(
                f"pixels must be uint8 {('N', *self._pixels_shape)}, "
                f"not {pixels.dtype} {pixels.shape}; use edgecil_devices.read_pixels"
            )
        start = time.perf_counter()
        feature_map = self._trunk.run(np.ascontiguousarray(pixels))
        after_trunk = time.perf_counter()
        of_blocks = self._run_blocks(feature_map)  # K x (N, D)
        after_blocks = time.perf_counter()
        features = np.concatenate(of_blocks, axis=1)  # (N, F)
        if self._unit_features:
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(lengths, _LEAST_LENGTH)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = features @ self._weight + self._bias
        # A comparison with NaN picks some class or other without a word, so stop here. A feature
        # that is not finite makes every logit so.
        if not np.isfinite(logits).all():
            raise BundleError(
                f"{self._not_finite(of_blocks)} gives values that are not finite{_BUNDLE_IS_BAD}"
            )
        after_head = time.perf_counter()
        return Inference(
            logits,
            trunk_ms=(after_trunk - start) * 1e3,
            blocks_ms=(after_blocks - after_trunk) * 1e3,
            head_ms=(after_head - after_blocks) * 1e3,
        )

    def _run_blocks(self, feature_map: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        features: list[Any] = [None] * len(self._blocks)
        remaining = iter(range(len(self._blocks)))

        def work(remaining: Iterator[int]) -> None:
            for k in remaining:  # each thread takes the next block when it is done with one
                features[k] = self._blocks[k].run(feature_map)

        if self._pool is None:
            work(remaining)
        else:
            others = [self._pool.submit(work, remaining) for _ in range(self._workers - 1)]
            work(remaining)
            for other in others:
                other.result()
        return features

    def _not_finite(self, features: list[NDArray[np.float32]]) -> str:
        """Who is to blame for logits that are not finite."""
        for block, values in zip(self._blocks, features, strict=True):
            if not np.isfinite(values).all():
                return block.name
        return "the head"

    def _check_shapes(self, manifest: Manifest) -> None:
        """Compare what the manifest promises with what the graphs declare."""
        trunk = self._trunk
        _require_port(trunk.name, trunk.input, PIXELS, "uint8", self._pixels_shape)
        map_shape = trunk.output.shape[1:]
        if not (len(map_shape) == 3 and all(isinstance(size, int) for size in map_shape)):
            raise BundleError(f"{trunk.name}: the feature map's shape is not fixed{_BUNDLE_IS_BAD}")
        _require_port(trunk.name, trunk.output, FEATURE_MAP, "float", map_shape)
        for block, graph in zip(manifest.blocks, self._blocks, strict=True):
            _require_port(block.name, graph.input, FEATURE_MAP, "float", map_shape)
            _require_port(block.name, graph.output, FEATURES, "float", (block.features,))


def _available_threads() -> int:
    """Cores this process may use, four at most: more do not help networks this small."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_THREADS_UNASKED)


def _open(bundle: Bundle, blob: Blob, threads: int) -> Graph:
    return Graph(bundle.blobs[blob.name], blob.name, threads)


def _require_port(
    graph: str, port: Port, name: str, dtype: str, shape: tuple[int | str | None, ...]
) -> None:
    """`port` is `name`, of `dtype`, any number of images times `shape`."""
    any_batch = len(port.shape) > 0 and not isinstance(port.shape[0], int)
    expected = (name, f"tensor({dtype})", shape)
    if (port.name, port.dtype, port.shape[1:]) != expected or not any_batch:
        raise BundleError(
            f"{graph} should have {name} {dtype} {('N', *shape)} "
            f"but has {port.name} {port.dtype} {port.shape}{_BUNDLE_IS_BAD}"
        )


def _read_head(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head's weight (F, C) and bias (C,) from its .npy blob (C, F+1), bias last."""
    manifest = bundle.manifest
    name = manifest.head.name
    expected = (len(manifest.classes), sum(block.features or 0 for block in manifest.blocks) + 1)
    head = _read_npy(bundle.blobs[name], name)
    if head.shape != expected:
        raise BundleError(f"{name} has shape {head.shape}, not {expected}{_BUNDLE_IS_BAD}")
    if not np.isfinite(head).all():
        raise BundleError(f"{name} holds values that are not finite{_BUNDLE_IS_BAD}")
    table = head.astype(np.float32)
    return np.ascontiguousarray(table[:, :-1].T), table[:, -1].copy()


def _read_npy(data: bytes, name: str) -> NDArray[Any]:
    """A two-dimensional float16 or float32 array in C order; the header cannot make it allocate."""
    stream = BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not version 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran_order or dtype.str not in ("<f2", "<f4"):
            raise ValueError("not little-endian float16 or float32 in C order")
        return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
    except (ValueError, TypeError, SyntaxError) as error:
        raise BundleCorruptError(f"{name} is not an array ({error}){_BUNDLE_IS_BAD}") from error
