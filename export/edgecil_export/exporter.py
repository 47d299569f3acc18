"""From a run's state to one bundle file.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

import math
import os
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.errors import ExportError, UsageError
from edgecil.evaluation.nearest_mean import (
    exemplar_means,
    nearest_mean_bias,
    nearest_mean_logits,
)
from edgecil.memory.state import State, StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil.training.run import Run
from edgecil_devices.blobs import (
    BLOCK,
    GOLDEN_LOGITS,
    GOLDEN_PIXELS,
    HEAD,
    NEAREST_MEAN,
    TRUNK,
    Blob,
)
from edgecil_devices.files import sync_folder, write_synced
from edgecil_devices.manifest import Accuracy, Manifest
from edgecil_devices.package import pack
from edgecil_export.golden import NAMES, golden_pixels, npy
from edgecil_export.graphs import (
    IR_VERSION,
    OPSET,
    PixelTrunk,
    block_template,
    folded_trunk,
    tensors_of,
    trunk_template,
    with_weights,
)
from edgecil_export.inference import for_inference
from edgecil_export.keys import signature
from edgecil_export.parity import Parity, Pixels, comparison_images, require_parity
from edgecil_export.precision import Floats, Stored, require_precision, store, to_half
from edgecil_export.releases import PLAIN, Release, record, released

CLASSIFIERS = {"linear": HEAD, "nearest-mean": NEAREST_MEAN}
"""What `--classifier` takes, and the role of its blob."""

MIN_ONNXRUNTIME = "1.24.4"
"""Older ones can be made to read foreign files through a model."""


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    path: Path
    """The bundle."""
    manifest: Manifest
    """What the bundle says about itself."""
    size_bytes: int
    """Of the whole file."""
    parity: Parity
    """How it compares with the network."""

    def lines(self) -> list[str]:
        """For people: every file, the comparison, the whole."""
        manifest, parity = self.manifest, self.parity
        width = max(len(blob.name) for blob in manifest.blobs)
        files = [f"{b.name:<{width}}  {_grouped(b.size_bytes):>12} bytes" for b in manifest.blobs]
        files[0] += f"   opset {manifest.opset}  IR {manifest.ir_version}  {manifest.weights}"
        number = f", release {manifest.release}" if manifest.release else ""
        images = "exemplars" if parity.real else "images of noise"
        return [
            *files,
            f"check: {parity.images} {images}, max |difference| {parity.max_difference:.1e}, "
            f"top-1 agree {parity.agreeing}/{parity.images}",
            f"wrote {self.path} ({_grouped(self.size_bytes)} bytes, "
            f"{len(manifest.classes)} classes, {len(manifest.tasks)} tasks{number})",
        ]


@dataclass
class _Network:
    """The network as the bundle holds it, in torch: folded, with its weights rounded."""

    trunk: PixelTrunk
    blocks: list[nn.Module]
    head: Floats  # (C, K*D+1), the bias last
    unit_features: bool  # whether features are scaled to unit length first

    def logits(self, pixels: Pixels) -> Floats:
        with torch.inference_mode():
            feature_map = self.trunk(torch.from_numpy(pixels))
            features = torch.cat([block(feature_map) for block in self.blocks], dim=1)
            if self.unit_features:
                features = F.normalize(features, dim=1)
            table = torch.from_numpy(self.head)
            return F.linear(features, table[:, :-1], table[:, -1]).numpy()


def export(
    run: str | Path,
    out: str | Path,
    weights: str = "fp32",
    classifier: str = "linear",
    release: Release = PLAIN,
) -> ExportReport:
    """Write the network of a run's state as a bundle, after checking that both say the same.

    The same state gives the same bytes, with the same versions of torch and onnxscript.

    Args:
        run: a run folder; what its last finished task left is exported.
        out: the bundle to write; one that is there is replaced once the new one is checked.
        weights: how weights are stored, "fp32", "fp16" or "int8".
        classifier: "linear", the head that was trained, or "nearest-mean", the nearest mean of the
            state's exemplars.
        release: its number, and who signs it; none of that for a plain bundle.

    Raises:
        UsageError: unknown weights or classifier, or a key that cannot be used.
        StateError: the run holds no state, or one that is damaged.
        ExportError: `out` cannot be written, or the exported graphs do not say what the network
            says. Nothing is left behind.
    """
    run, out = Path(run), Path(out)
    require_precision(weights)
    if classifier not in CLASSIFIERS:
        raise UsageError(
            f"unknown classifier {classifier!r}; choose one of: {', '.join(CLASSIFIERS)}"
        )
    if not run.is_dir():
        raise ExportError(f"{run} is not a run folder; edgecil train makes one")
    if out.is_dir() or not out.parent.is_dir():
        raise ExportError(f"{out} cannot be written; name a file in a folder that exists")
    state = State.read(run / "state")
    settings, network = state.settings, state.network()
    means = _means(state, network) if classifier == "nearest-mean" else None
    blobs, exported = _blobs(network, means, settings.image_size_px, weights)
    accuracy = _accuracy(Run(run), settings, classifier)
    samples = golden_pixels(state)
    blobs[NAMES[GOLDEN_PIXELS]] = npy(samples)
    blobs[NAMES[GOLDEN_LOGITS]] = npy(exported.logits(samples))
    manifest = _manifest(network, settings, blobs, weights, CLASSIFIERS[classifier], accuracy)
    manifest = released(manifest, release, run)
    signed = signature(manifest.to_json(), release.sign) if release.sign else b""
    data = pack(manifest, blobs, signatures=signed)

    def original(pixels: Pixels) -> Floats:
        with torch.inference_mode():
            features = network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            logits: torch.Tensor = network.head(features)
            if means is not None:
                logits = nearest_mean_logits(features, means)
            return logits.numpy()

    images, real = comparison_images(state)
    # The device's own reader reads the very file that will be the bundle, before it has its name.
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        write_synced(partial, data)
        parity = require_parity(partial, exported.logits, original, images, real=real)
        partial.replace(out)
        sync_folder(out.parent)
        record(manifest, run)
    except OSError as error:
        raise ExportError(f"{out} cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(out, manifest, len(data), parity)


def _means(state: State, network: ExpandableNetwork) -> Tensor:
    """The means of a state's exemplars, (C, F)."""
    if not state.exemplars.counts.all():
        raise ExportError(
            "the nearest mean needs an exemplar of every class, and the state does not keep one; "
            "export with --classifier linear"
        )
    return exemplar_means(network, state.exemplars)


def _blobs(
    network: ExpandableNetwork, means: Tensor | None, image_size_px: int, weights: str
) -> tuple[dict[str, bytes], _Network]:
    """Every blob of the bundle by its name, and the network they hold."""
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    blocks = [for_inference(block) for block in network.blocks]
    pixels = torch.zeros(1, image_size_px, image_size_px, 3, dtype=torch.uint8)
    templates = [trunk_template(trunk, image_size_px)]
    templates += [block_template(blocks[0], trunk(pixels))] * len(blocks)
    names = ["trunk.onnx", *(f"block-{k:02}.onnx" for k in range(len(blocks)))]
    blobs = {}
    for name, module, template in zip(names, [trunk, *blocks], templates, strict=True):
        stored = {key: store(tensor, weights) for key, tensor in tensors_of(module).items()}
        blobs[name] = with_weights(template, stored)
        _load_restored(module, stored)
    if means is None:
        head = _table(network.head.weight, network.head.bias, weights)
    else:
        head = _table(means, nearest_mean_bias(means), weights)
    blobs["head.npy"] = npy(head)
    return blobs, _Network(trunk, list(blocks), head.astype(np.float32), means is not None)


def _load_restored(module: nn.Module, stored: dict[str, Stored]) -> None:
    tensors: dict[str, Tensor] = {
        name: torch.from_numpy(weight.restored) for name, weight in stored.items()
    }
    module.load_state_dict(tensors)


def _table(weight: Tensor, bias: Tensor, weights: str) -> NDArray[Any]:
    """(C, K*D+1): each class's weights and, last, its bias; half precision unless fp32."""
    table = torch.cat([weight, bias[:, None]], dim=1).detach().numpy()
    if not np.isfinite(table).all():
        raise ExportError("the head holds values that are not finite; train the task again")
    return table if weights == "fp32" else to_half(table)


def _manifest(
    network: ExpandableNetwork,
    settings: StateSettings,
    blobs: dict[str, bytes],
    weights: str,
    head_role: str,
    accuracy: Accuracy | None,
) -> Manifest:
    *graphs, head, pixels, logits = blobs.items()
    trunk = Blob.of(graphs[0][0], TRUNK, graphs[0][1])
    # A method with one block for all tasks trained it last in the last of them.
    first_task = len(settings.task_sizes) - len(network.blocks)
    blocks = [
        Blob.of(
            name,
            BLOCK,
            data,
            task=first_task + k,
            features=network.feature_size,
            trunk=trunk.sha256,
        )
        for k, (name, data) in enumerate(graphs[1:])
    ]
    ends = list(accumulate(settings.task_sizes))
    return Manifest(
        classes=settings.classes,
        tasks=tuple(range(start, end) for start, end in pairwise([0, *ends])),
        preprocessing=settings.preprocessing,
        mean=settings.mean,
        std=settings.std,
        weights=weights,
        opset=OPSET,
        ir_version=IR_VERSION,
        min_onnxruntime=MIN_ONNXRUNTIME,
        blobs=(
            trunk,
            *blocks,
            Blob.of(head[0], head_role, head[1]),
            Blob.of(pixels[0], GOLDEN_PIXELS, pixels[1]),
            Blob.of(logits[0], GOLDEN_LOGITS, logits[1]),
        ),
        network={"method": settings.method, "backbone": settings.backbone, "cut": settings.cut},
        versions={name: version(name) for name in ("edgecil", "torch", "onnx", "onnxscript")},
        accuracy=accuracy,
    )


def _accuracy(run: Run, settings: StateSettings, classifier: str) -> Accuracy | None:
    """What the run measured after the task that the state is of."""
    for result in run.stage_results():
        if result.stage != settings.stage or not math.isfinite(result.accuracy):
            continue
        if classifier == "linear":
            return Accuracy(result.accuracy, tuple(result.accuracy_by_task))
        if result.nearest_mean_accuracy is not None:
            return Accuracy(result.nearest_mean_accuracy, ())
    return None


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
