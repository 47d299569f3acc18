"""From a run's state to one bundle file.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgecil.errors import ExportError, UsageError
from edgecil.evaluation.nearest_mean import (
    exemplar_means,
    nearest_mean_logits,
)
from edgecil.memory.state import State, StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.sequences import SeenInTest
from edgecil.training.access import reading
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil_devices.blobs import (
    BLOCK,
    GOLDEN_LOGITS,
    GOLDEN_PIXELS,
    HEAD,
    NEAREST_MEAN,
    TRUNK,
    Blob,
)
from edgecil_devices.files import cannot_be_written, sync_folder, write_synced
from edgecil_devices.floors import OLDEST_ONNXRUNTIME
from edgecil_devices.manifest import Accuracy, HeldOut, Manifest
from edgecil_devices.package import pack
from edgecil_export.accuracy_loss import (
    FP32,
    TEST_PICTURES,
    AccuracyLoss,
    Compute,
    accuracy_loss,
    require_small,
    sample_for,
)
from edgecil_export.contents import Contents, contents_in_fp32, contents_in_int8
from edgecil_export.golden import NAMES, golden_pixels, npy
from edgecil_export.graphs import IR_VERSION, OPSET
from edgecil_export.keys import signature
from edgecil_export.parity import Logits, Parity, Pixels, comparison_images, require_parity
from edgecil_export.precision import Floats, require_precision
from edgecil_export.quantisation import INT8_TOLERANCE, calibration_indices
from edgecil_export.releases import PLAIN, RECORD, Release, record, released

CLASSIFIERS = {"linear": HEAD, "nearest-mean": NEAREST_MEAN}
"""What `--classifier` takes, and the role of its blob."""


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
    loss: AccuracyLoss | None = None
    """What computing in eight bits costs, if it does."""

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
            *([self.loss.line()] if self.loss else []),
            f"check: {parity.images} {images}, max |difference| {parity.max_difference:.1e}, "
            f"top-1 agree {parity.agreeing}/{parity.images}",
            f"wrote {self.path} ({_grouped(self.size_bytes)} bytes, "
            f"{len(manifest.classes)} classes, {len(manifest.tasks)} tasks{number})",
        ]


def export(
    run: str | Path,
    out: str | Path,
    weights: str | None = None,
    classifier: str = "linear",
    release: Release = PLAIN,
    compute: Compute = FP32,
) -> ExportReport:
    """Write the network of a run's state as a bundle, after checking that both say the same.

    The same state gives the same bytes, with the same versions of torch and onnxscript.

    Args:
        run: a run folder; what its last finished task left is exported.
        out: the bundle to write; one that is there is replaced once the new one is checked.
        weights: how weights are stored, "fp32", "fp16" or "int8"; None: as they are computed with.
        classifier: "linear", the head that was trained, or "nearest-mean", the nearest mean of the
            state's exemplars.
        release: its number, and who signs it; none of that for a plain bundle.
        compute: what the graphs compute in, and what that may cost.

    Raises:
        UsageError: unknown weights or classifier, or a key that cannot be used.
        StateError: the run holds no state, or one that is damaged.
        ExportError: `out` cannot be written, the exported graphs do not say what the network says,
            or computing in int8 costs too much. Nothing is left behind.
        RunError: the run is being written by another process.
    """
    run, out = Path(run), Path(out)
    weights = compute.kind if weights is None else weights
    _require_possible(run, out, weights, classifier, compute)
    with reading(run):
        return _exported(run, out, weights, classifier, release, compute)


def _exported(
    run: Path, out: Path, weights: str, classifier: str, release: Release, compute: Compute
) -> ExportReport:
    """See `export`; nobody writes the run meanwhile."""
    state = State.read(run / "state")
    settings, network = state.settings, state.network()
    means = _means(state, network) if classifier == "nearest-mean" else None
    original = _original(network, means)
    of_run = Run(run)
    accuracy, loss = _accuracy(of_run, settings, classifier), None
    if compute.kind == "int8":
        contents, loss = _in_int8(run, state, means, original, compute)
        accuracy = loss.bundle if loss.sample == TEST_PICTURES else None
    else:
        contents = contents_in_fp32(network, means, settings.image_size_px, weights)
    samples = golden_pixels(state)
    blobs = contents.blobs | {
        NAMES[GOLDEN_PIXELS]: npy(samples),
        NAMES[GOLDEN_LOGITS]: npy(contents.logits(samples)),
    }
    manifest = _manifest(network, settings, blobs, weights, CLASSIFIERS[classifier], accuracy)
    if of_run.exists:
        manifest = _with_facts_of_the_run(manifest, of_run.settings())
    if compute.kind == "int8":
        manifest = replace(manifest, compute="int8", tolerance=INT8_TOLERANCE)
    manifest = released(manifest, release, run)
    signed = signature(manifest.to_json(), release.sign) if release.sign else b""
    data = pack(manifest, blobs, signatures=signed)

    images, real = comparison_images(state)
    # The device's own reader reads the very file that will be the bundle, before it has its name.
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        write_synced(partial, data)
        parity = require_parity(partial, contents.logits, original, images, real=real)
        partial.replace(out)
        sync_folder(out.parent)
        record(manifest, run, out)
    except OSError as error:
        failed = run / RECORD if error.filename == str(run / RECORD) else out
        raise ExportError(cannot_be_written(failed, error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(out, manifest, len(data), parity, loss)


def _require_possible(
    run: Path, out: Path, weights: str, classifier: str, compute: Compute
) -> None:
    require_precision(weights)
    if compute.kind == "int8" and weights != "int8":
        raise UsageError("with --compute int8, weights are int8 too; leave out --weights")
    if classifier not in CLASSIFIERS:
        raise UsageError(
            f"unknown classifier {classifier!r}; choose one of: {', '.join(CLASSIFIERS)}"
        )
    if not run.is_dir():
        raise ExportError(f"{run} is not a run folder; edgecil train makes one")
    if out.is_dir() or not out.parent.is_dir():
        raise ExportError(f"{out} cannot be written; name a file in a folder that exists")


def _in_int8(
    run: Path, state: State, means: Tensor | None, original: Logits, compute: Compute
) -> tuple[Contents, AccuracyLoss]:
    """The contents for computing in eight bits, and what that costs."""
    settings = state.settings
    chosen = calibration_indices(state)
    sample = sample_for(run, state, np.concatenate(chosen), compute.data_dir)
    in_fp32 = contents_in_fp32(state.network(), means, settings.image_size_px, "fp32")
    seen = SeenInTest(state.exemplars.pictures, settings.preprocessing)
    contents = contents_in_int8(in_fp32, [seen.pixels(some) for some in chosen])
    loss = accuracy_loss(sample, original, contents.logits, _tasks(settings))
    require_small(loss, compute)
    return contents, loss


def _original(network: ExpandableNetwork, means: Tensor | None) -> Logits:
    """The network as the state has it."""

    def logits(pixels: Pixels) -> Floats:
        with torch.inference_mode():
            features = network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            if means is not None:
                return nearest_mean_logits(features, means).numpy()
            found: Tensor = network.head(features)
            return found.numpy()

    return logits


def _tasks(settings: StateSettings) -> tuple[range, ...]:
    """The classes of each task."""
    ends = list(accumulate(settings.task_sizes))
    return tuple(range(start, end) for start, end in pairwise([0, *ends]))


def _means(state: State, network: ExpandableNetwork) -> Tensor:
    """The means of a state's exemplars, (C, F)."""
    if not state.exemplars.counts.all():
        raise ExportError(
            "the nearest mean needs an exemplar of every class, and the state does not keep one; "
            "export with --classifier linear"
        )
    return exemplar_means(network, state.exemplars, state.settings.preprocessing)


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
    return Manifest(
        classes=settings.classes,
        tasks=_tasks(settings),
        preprocessing=settings.preprocessing,
        mean=settings.mean,
        std=settings.std,
        weights=weights,
        opset=OPSET,
        ir_version=IR_VERSION,
        min_onnxruntime=OLDEST_ONNXRUNTIME,
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


def _with_facts_of_the_run(manifest: Manifest, settings: RunSettings) -> Manifest:
    """The manifest with how pictures were mirrored and kept for the test, where that was a choice.

    What is usual is not said, so that it costs no byte.
    """
    cut_of = {
        name: source.held_out.cuts.get(name)
        for task in settings.tasks
        for name in task.classes
        if (source := settings.sources[task.source]).held_out
    }
    cuts = tuple(map(cut_of.get, manifest.classes))
    facts = manifest.network if settings.mirrors else manifest.network | {"mirrored": "no"}
    drawn = HeldOut(settings.seed, cuts) if any(cuts) else None
    return replace(manifest, network=facts, held_out=drawn)


def _accuracy(run: Run, settings: StateSettings, classifier: str) -> Accuracy | None:
    """What the run measured after the task that the state is of."""
    for result in run.stage_results():
        if result.stage != settings.stage:
            continue
        by_task = [accuracy for accuracy in result.accuracy_by_task if accuracy is not None]
        whole = result.whole_accuracy is not None
        linear = classifier == "linear"
        overall = result.accuracy if linear else result.nearest_mean_accuracy
        if overall is None or not (whole or result.measured_classes):
            return None
        every_task = linear and len(by_task) == len(settings.task_sizes)
        covered = None if whole else result.measured_classes
        return Accuracy(overall, tuple(by_task) if every_task else (), covered)
    return None


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
