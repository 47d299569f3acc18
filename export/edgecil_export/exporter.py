"""From a run's state to one bundle file.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

import logging
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecil.errors import ExportError
from edgecil.training.access import reading
from edgecil.training.settings import RunSettings
from edgecil_devices.blobs import (
    BLOCK,
    GOLDEN_LOGITS,
    GOLDEN_PIXELS,
    STATISTICS,
    TRUNK,
    Blob,
)
from edgecil_devices.counting import counted
from edgecil_devices.files import (
    cannot_be_written,
    remove_leftovers,
    sync_folder,
    temporary_of,
    write_synced,
)
from edgecil_devices.floors import OLDEST_ONNXRUNTIME
from edgecil_devices.graph_shapes import lowest_format
from edgecil_devices.graphs import operators
from edgecil_devices.manifest import (
    DEFAULT_TOLERANCE,
    FORMAT_OF_STATISTICS,
    Accuracy,
    HeldOut,
    Manifest,
)
from edgecil_devices.package import pack
from edgecil_devices.teaching.statistics import packed
from edgecil_devices.teaching_facts import OF_TRUNK
from edgecil_export.accuracy_loss import (
    TEST_PICTURES,
    AccuracyLoss,
    accuracy_loss,
    held_out_sample,
    require_small,
    sample_for,
)
from edgecil_export.calibration import calibration
from edgecil_export.contents import HEAD_NAME, Contents, contents_in_fp32, contents_in_int8
from edgecil_export.golden import NAMES, golden_pixels, npy
from edgecil_export.graphs import IR_VERSION, OPSET
from edgecil_export.keys import signature
from edgecil_export.opened_run import OpenedRun
from edgecil_export.parity import Parity, comparison_images, require_parity
from edgecil_export.quantisation import INT8_TOLERANCE
from edgecil_export.releases import RECORD, record, released
from edgecil_export.request import CLASSIFIERS, PLAIN, ExportRequest
from edgecil_export.teachable import (
    STATISTICS_NAME,
    blended_logits,
    features_for_teaching,
    held_out_answers,
    known_classes,
    unknown_facts,
)
from edgecil_export.teaching_choice import TeachingChoice, chosen, usual

_logger = logging.getLogger("edgecil")


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
    teaching: TeachingChoice | None = None
    """How devices learn beside it, if it is teachable."""

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
            *([self.teaching.line()] if self.teaching else []),
            f"check: {parity.images} {images}, max |difference| {parity.max_difference:.1e}, "
            f"top-1 agree {parity.agreeing}/{parity.images}",
            f"wrote {self.path} ({_grouped(self.size_bytes)} bytes, "
            f"{counted(len(manifest.classes), 'class')}, "
            f"{counted(len(manifest.tasks), 'task')}{number})",
        ]


def export(run: str | Path, out: str | Path, request: ExportRequest = PLAIN) -> ExportReport:
    """Write the network of a run's state as a bundle, after checking that both say the same.

    The same state gives the same bytes, with the same versions of torch and onnxscript.

    Args:
        run: a run folder; what its last finished task left is exported.
        out: the bundle to write; one that is there is replaced once the new one is checked.
        request: what the bundle is to be.

    Raises:
        UsageError: a key that cannot be used.
        StateError: the run holds no state, or one that is damaged.
        ExportError: `out` cannot be written, the exported graphs do not say what the network says,
            computing in int8 costs too much, or thresholds that devices have would be lost.
            Nothing is left behind.
        RunError: the run is being written by another process.
    """
    run, out = Path(run), Path(out)
    if not run.is_dir():
        raise ExportError(f"{run} is not a run folder; edgecil train makes one")
    require_place(out)
    with reading(run):
        return _exported(OpenedRun.read(run, request.classifier), out, request)


def require_place(out: Path) -> None:
    """Check that a file can be where it is to be written.

    Raises:
        ExportError: a folder has its name, or there is no folder to hold it.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise ExportError(f"{out} cannot be written; name a file in a folder that exists")


def _exported(opened: OpenedRun, out: Path, request: ExportRequest) -> ExportReport:
    """See `export`; nobody writes the run meanwhile."""
    run, state, accuracy, loss = opened.run.folder, opened.state, opened.accuracy(), None
    if request.compute == "int8":
        contents, loss = _in_int8(opened, request)
        accuracy = loss.bundle if loss.sample == TEST_PICTURES else None
    else:
        contents = contents_in_fp32(opened, request.stored_weights(state.settings.precision))
    of = features_for_teaching(opened)
    teaching, unknown = _teachable(opened, contents, of, request)
    statistics, facts = _packed(teaching, of)
    samples = golden_pixels(state)
    blobs = contents.blobs | statistics
    blobs |= {
        NAMES[GOLDEN_PIXELS]: npy(samples),
        NAMES[GOLDEN_LOGITS]: npy(contents.logits(samples)),
    }
    manifest = _manifest(opened, blobs, request, accuracy, facts | unknown)
    manifest = released(manifest, request, run)
    signed = b"".join(signature(manifest.to_json(), key) for key in request.sign)
    data = pack(manifest, blobs, signatures=signed)

    images, real = comparison_images(state)
    # The device's own reader reads the very file that will be the bundle, before it has its name.
    partial = temporary_of(out)
    remove_leftovers(out)
    try:
        write_synced(partial, data)
        parity = require_parity(partial, contents.logits, opened.logits, images, real=real)
        partial.replace(out)
        sync_folder(out.parent)
        record(manifest, run, out if request.kept else None)
    except OSError as error:
        failed = run / RECORD if error.filename == str(run / RECORD) else out
        raise ExportError(cannot_be_written(failed, error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(out, manifest, len(data), parity, loss, teaching)


def _in_int8(opened: OpenedRun, request: ExportRequest) -> tuple[Contents, AccuracyLoss]:
    """The contents for computing in eight bits, and what that costs."""
    found = calibration(opened, request.data_dir)
    sample = sample_for(opened, found.exemplars, request.data_dir)
    contents = contents_in_int8(contents_in_fp32(opened, "fp32"), found.pixels)
    loss = accuracy_loss(sample, opened.logits, contents.logits, opened.tasks)
    require_small(loss, request)
    return contents, loss


def _teachable(
    opened: OpenedRun, contents: Contents, of: str, request: ExportRequest
) -> tuple[TeachingChoice | None, dict[str, Any]]:
    """How devices are to learn, and what the manifest says of the unknown.

    Raises:
        ExportError: devices tell the unknown, and the pictures for that are not here.
    """
    if not request.teachable:
        return None, {}
    features = contents.map_means if of == OF_TRUNK else contents.head_features
    known = known_classes(opened.state, features)
    sample = held_out_sample(opened, request.data_dir)
    if sample is None:
        if request.tells_unknown:
            _require_lost_on_purpose(request)
        return usual(known), {}
    held_out = held_out_answers(sample, contents, of)
    unknown = unknown_facts(held_out, blended_logits(sample, contents))
    return chosen(known, held_out), {"unknown": unknown}


def _require_lost_on_purpose(request: ExportRequest) -> None:
    """Let thresholds go that devices have, with a word, if that was asked for."""
    if not request.lose_unknown:
        raise ExportError(
            "devices have thresholds for --unknown, and test pictures of every class, which new "
            "ones are measured on, are not here; put them back (or give --data-dir), or do "
            "without: --lose-unknown"
        )
    _logger.warning("thresholds for --unknown, which devices have, are lost by --lose-unknown")


def _packed(
    teaching: TeachingChoice | None, features: str
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The blob of statistics by its name, and what the manifest says of it."""
    if teaching is None:
        return {}, {}
    table, facts = packed(teaching.known, features)
    return {STATISTICS_NAME: npy(table)}, {"teaching": facts}


def _manifest(
    opened: OpenedRun,
    blobs: dict[str, bytes],
    request: ExportRequest,
    accuracy: Accuracy | None,
    facts: dict[str, Any],
) -> Manifest:
    settings, network = opened.state.settings, opened.network
    graphs = [(name, data) for name, data in blobs.items() if name.endswith(".onnx")]
    roles = {
        HEAD_NAME: CLASSIFIERS[request.classifier],
        STATISTICS_NAME: STATISTICS,
        **{name: role for role, name in NAMES.items()},
    }
    trunk = Blob.of(graphs[0][0], TRUNK, graphs[0][1])
    blocks = [
        Blob.of(
            name,
            BLOCK,
            data,
            # A block of several tasks was trained last in, or after, the last of them.
            task=max(tasks),
            tasks=tasks if settings.block_tasks and len(tasks) > 1 else None,
            features=network.feature_size,
            trunk=trunk.sha256,
        )
        for tasks, (name, data) in zip(settings.tasks_of_blocks, graphs[1:], strict=True)
    ]
    about = {"method": settings.method, "backbone": settings.backbone, "cut": settings.cut}
    # What is usual is not said, so that it costs no byte.
    mirrored = {} if opened.settings is None or opened.settings.mirrors else {"mirrored": "no"}
    return Manifest(
        classes=settings.classes,
        tasks=opened.tasks,
        preprocessing=settings.preprocessing,
        mean=settings.mean,
        std=settings.std,
        weights=request.stored_weights(settings.precision),
        opset=OPSET,
        ir_version=IR_VERSION,
        min_onnxruntime=OLDEST_ONNXRUNTIME,
        blobs=(
            trunk,
            *blocks,
            *(Blob.of(name, roles[name], data) for name, data in blobs.items() if name in roles),
        ),
        network=about | mirrored,
        origin=asdict(settings.origin) if settings.origin else {},
        versions={name: version(name) for name in ("edgecil", "torch", "onnx", "onnxscript")},
        accuracy=accuracy,
        held_out=_held_out(opened.settings, settings.classes) if opened.settings else None,
        compute=request.compute,
        tolerance=INT8_TOLERANCE if request.compute == "int8" else DEFAULT_TOLERANCE,
        format_number=max(
            lowest_format(set().union(*(operators(graph) for _, graph in graphs))),
            FORMAT_OF_STATISTICS if request.teachable else 1,
        ),
        **facts,
    )


def _held_out(settings: RunSettings, classes: tuple[str, ...]) -> HeldOut | None:
    """How pictures of `classes` were kept for the test, where that was drawn."""
    cut_of = {
        name: source.held_out.cuts.get(name)
        for task in settings.tasks
        for name in task.classes
        if (source := settings.sources[task.source]).held_out
    }
    cuts = tuple(map(cut_of.get, classes))
    return HeldOut(settings.seed, cuts) if any(cuts) else None


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
