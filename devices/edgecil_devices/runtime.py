"""A bundle's graphs put together: trunk and blocks as `arrangement` has them, the head in numpy.

Shapes: N images, S image size, K blocks, D features a block, F = K*D features in all, C classes.
"""

import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil_devices._onnxruntime import require_version
from edgecil_devices.arrangement import Parts, SideBySide
from edgecil_devices.arrangement_choice import key_of
from edgecil_devices.blobs import NEAREST_MEAN
from edgecil_devices.bundle import Bundle
from edgecil_devices.choosing import HALF_TOLERANCE, Chosen, Proof, choose
from edgecil_devices.computation import AUTO, FP16, admitted, read_cpuinfo
from edgecil_devices.errors import BundleError, UsageError
from edgecil_devices.golden import golden_of
from edgecil_devices.graph_check import check_graph
from edgecil_devices.graphs import FLOAT, UINT8, Port, ports
from edgecil_devices.npy import read_npy
from edgecil_devices.profiles import default_threads
from edgecil_devices.teaching_facts import OF_TRUNK

PIXELS, FEATURE_MAP, FEATURES = "pixels", "feature_map", "features"
"""What the graphs call their inputs and outputs: pixels -> feature_map -> features."""

_LEAST_LENGTH = np.float32(1e-12)
"""Features that are all zero stay so."""
_BUNDLE_IS_BAD = "; export the bundle again"


@dataclass(frozen=True)
class Inference:
    """Logits, and how long each part took."""

    logits: NDArray[np.float32]
    """(N, C)."""
    features: NDArray[np.float32]
    """(N, F), as the head takes them."""
    embedding: NDArray[np.float32]
    """(N, E), what is taught is told by: those features or, where the bundle says so, the means of
    the trunk's feature map."""
    trunk_ms: float
    """Milliseconds for all N images; where trunk and blocks are one graph, that graph's, divided as
    it was measured at the start."""
    blocks_ms: float
    """Likewise, all blocks together."""
    head_ms: float
    """Likewise."""


class Runtime:
    """Runs a bundle on pixels. Safe to call from several threads.

    At the first start up to half a second goes to finding out how the blocks had better share
    several threads, and whether another computation is faster, where one may be used.

    Args:
        bundle: what to run; not needed any more afterwards.
        threads: how many threads may compute at once; None: as the profile has it.
        kept: the file that keeps what was found out; None: nothing is read or written.
        compute: "fp32", "fp16" or "int8"; "auto": what is fastest and right on this processor;
            None: as the manifest has it.

    Raises:
        BundleError: the graphs cannot be loaded, or are not what the manifest says.
        UsageError: `threads` is below one, or there is no such `compute`.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        kept: Path | None = None,
        compute: str | None = None,
    ) -> None:
        manifest = bundle.manifest
        require_version(manifest.min_onnxruntime)
        self.threads = default_threads() if threads is None else threads
        if self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        size_px = manifest.preprocessing.image_size_px
        self._pixels_shape = (size_px, size_px, 3)
        self._block_names = [block.name for block in manifest.blocks]
        self._weight, self._bias = _read_head(bundle)
        self._unit_features = manifest.head.role == NEAREST_MEAN
        proof = None
        _, *others = admitted(compute, manifest.compute, read_cpuinfo(), platform.machine())
        for other in others:
            tolerance = HALF_TOLERANCE if other == FP16 else manifest.tolerance
            golden, must_be_faster = golden_of(bundle), compute == AUTO
            proof = Proof(other, tolerance, golden, self._logits, must_be_faster)
        key = key_of(bundle.manifest_json, self.threads, compute)
        parts = _parts(bundle)
        self._chosen = choose(parts, self.threads, size_px, kept, key, proof)
        self._spare = parts if self._chosen.compute == FP16 else None
        self._lock = threading.Lock()
        self._embeds_map = parts.keeps_map
        channels = _ports(parts.trunk, parts.trunk_name)[1].shape[1]
        assert isinstance(channels, int)  # or the parts would have been refused
        self.embedding_size = channels if parts.keeps_map else sum(parts.features)
        """E of `Inference.embedding`."""

    @property
    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The head's weight (F, C) and bias (C,)."""
        return self._weight, self._bias

    @property
    def arrangement(self) -> str:
        """How trunk and blocks share the threads: "side by side" or "one graph"."""
        return self._chosen.arrangement.name

    @property
    def compute(self) -> str:
        """How it is computed: one of `computation.COMPUTATIONS`."""
        return self._chosen.compute

    @property
    def note(self) -> str:
        """Why another computation is not used, though it was tried; empty where none was."""
        return self._chosen.note

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
        inference, of_blocks = self._inferred(pixels)
        if self._spare and not np.isfinite(inference.logits).all():
            self._return_to_single(self._spare)
            inference, of_blocks = self._inferred(pixels)
        # A comparison with NaN picks some class or other without a word, so stop here. A feature
        # that is not finite makes every logit so.
        if not np.isfinite(inference.logits).all():
            raise BundleError(
                f"{self._not_finite(of_blocks)} gives values that are not finite{_BUNDLE_IS_BAD}"
            )
        return inference

    def _inferred(self, pixels: NDArray[np.uint8]) -> tuple[Inference, list[NDArray[np.float32]]]:
        """The inference, and the features that each block gave."""
        computed = self._chosen.arrangement.run(np.ascontiguousarray(pixels))
        start = time.perf_counter()
        features = self._features(computed.of_blocks)
        logits = self._logits_of(features)
        embedding = features
        if self._embeds_map:
            assert computed.feature_map is not None
            embedding = computed.feature_map.mean(axis=(2, 3))
        head_ms = (time.perf_counter() - start) * 1e3
        times_ms = (computed.trunk_ms, computed.blocks_ms, head_ms)
        return Inference(logits, features, embedding, *times_ms), computed.of_blocks

    def _features(self, of_blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """As the head takes them, (N, F)."""
        features = np.concatenate(of_blocks, axis=1)  # K x (N, D) -> (N, F)
        if self._unit_features:
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(lengths, _LEAST_LENGTH)
        return features

    def _logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            # Not `@`: after a large product the threads of OpenBLAS spin for tens of milliseconds
            # and keep the next trunk from its cores (16 pictures a run, two cores: half the speed).
            found: NDArray[np.float32] = np.einsum("nf,fc->nc", features, self._weight) + self._bias
        return found

    def _logits(self, of_blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._logits_of(self._features(of_blocks))

    def _return_to_single(self, parts: Parts) -> None:
        """From now on: a picture gave numbers that half precision has no room for."""
        with self._lock:
            if self._chosen.compute == FP16:
                note = "fp16 is not used any more: a picture gave values beyond its range"
                single = SideBySide(parts, self.threads)
                self._chosen = Chosen(single, parts.compute, note)
                self._spare = None

    def _not_finite(self, features: list[NDArray[np.float32]]) -> str:
        """Who is to blame for logits that are not finite."""
        for name, values in zip(self._block_names, features, strict=True):
            if not np.isfinite(values).all():
                return name
        return "the head"


def _parts(bundle: Bundle) -> Parts:
    """The graphs, once they have the inputs and outputs that the manifest promises.

    Raises:
        BundleError: they have not.
    """
    manifest, blobs = bundle.manifest, bundle.blobs
    size_px = manifest.preprocessing.image_size_px
    trunk = manifest.trunk.name
    pixels, feature_map = _ports(blobs[trunk], trunk)
    _require_port(trunk, pixels, PIXELS, UINT8, (size_px, size_px, 3))
    map_shape = feature_map.shape[1:]
    if not (len(map_shape) == 3 and all(isinstance(size, int) for size in map_shape)):
        raise BundleError(f"{trunk}: the feature map's shape is not fixed{_BUNDLE_IS_BAD}")
    _require_port(trunk, feature_map, FEATURE_MAP, FLOAT, map_shape)
    for block in manifest.blocks:
        source, features = _ports(blobs[block.name], block.name)
        _require_port(block.name, source, FEATURE_MAP, FLOAT, map_shape)
        _require_port(block.name, features, FEATURES, FLOAT, (block.features,))
    for blob in (manifest.trunk, *manifest.blocks):
        check_graph(blobs[blob.name], blob.name, manifest)
    return Parts(
        blobs[trunk],
        tuple(blobs[block.name] for block in manifest.blocks),
        trunk,
        tuple(block.name for block in manifest.blocks),
        tuple(block.features or 0 for block in manifest.blocks),
        manifest.compute,
        manifest.teaching is not None and manifest.teaching.features == OF_TRUNK,
    )


def _ports(model: bytes, name: str) -> tuple[Port, Port]:
    """The one input and the one output of a graph."""
    try:
        inputs, outputs = ports(model)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(f"{name} must have one input and one output{_BUNDLE_IS_BAD}")
    return inputs[0], outputs[0]


def _require_port(
    graph: str, port: Port, name: str, dtype: str, shape: tuple[int | str | None, ...]
) -> None:
    """`port` is `name`, of `dtype`, any number of images times `shape`."""
    any_batch = len(port.shape) > 0 and not isinstance(port.shape[0], int)
    if (port.name, port.dtype, port.shape[1:]) != (name, dtype, shape) or not any_batch:
        raise BundleError(
            f"{graph} should have {name} {dtype} {('N', *shape)} "
            f"but has {port.name} {port.dtype} {port.shape}{_BUNDLE_IS_BAD}"
        )


def _read_head(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head's weight (F, C) and bias (C,) from its .npy blob (C, F+1), bias last."""
    manifest = bundle.manifest
    name = manifest.head.name
    expected = (len(manifest.classes), sum(block.features or 0 for block in manifest.blocks) + 1)
    head = read_npy(bundle.blobs[name], name, ("<f2", "<f4"))
    if head.shape != expected:
        raise BundleError(f"{name} has shape {head.shape}, not {expected}{_BUNDLE_IS_BAD}")
    if not np.isfinite(head).all():
        raise BundleError(f"{name} holds values that are not finite{_BUNDLE_IS_BAD}")
    table = head.astype(np.float32)
    return np.ascontiguousarray(table[:, :-1].T), table[:, -1].copy()
