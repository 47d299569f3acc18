"""From milliseconds a picture to blocks: what `--latency` means on a device, or on this machine."""

import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.errors import UsageError
from edgecil.training.request import TrainRequest

if TYPE_CHECKING:
    from edgecil.training.settings import RunSettings

Latency = Annotated[
    str | None,
    typer.Option(
        help="Milliseconds that a picture may take, as in 8ms, for memo, memo-2 and der: so many "
        "blocks there are at most, and older ones are merged. Measured on this machine, or as "
        "--bench says."
    ),
]
Bench = Annotated[
    Path | None,
    typer.Option(
        help="What edgecil bench --json printed on the device, of a bundle of the same network: "
        "--latency is then the device's."
    ),
]

_MEASURED_SECONDS = 2.0
_SOME_BLOCKS = 4


class TooSlowError(UsageError):
    """A latency that not even an old block beside a new one keeps."""


@dataclass(frozen=True)
class _Times:
    """Milliseconds of a picture, as a straight line over the number of blocks."""

    fixed_ms: float
    """Without any block."""
    block_ms: float
    """Of each block."""
    source: str
    """Where they come from, in words."""


def most_blocks(latency: str, settings: "RunSettings", bench: Path | None) -> int:
    """How many blocks of a run's network keep a latency.

    Args:
        latency: such as 8ms.
        settings: of the run.
        bench: what `edgecil bench --json` printed on the device; None to measure here.

    Raises:
        TooSlowError: not even two blocks are that fast.
        UsageError: no latency, or a file of something else.
    """
    from edgecil.planning.block_limits import FEWEST_BLOCKS

    latency_ms = milliseconds(latency)
    times = _of_device(bench, settings) if bench else _of_this_machine(settings)
    most = math.floor((latency_ms - times.fixed_ms) / times.block_ms + 1e-9)
    told = (
        f"{times.source}: a block takes {times.block_ms:.2f} ms and all else "
        f"{times.fixed_ms:.2f} ms, so {latency_ms:g} ms hold"
    )
    if most < FEWEST_BLOCKS:
        raise TooSlowError(
            f"{told} {max(most, 0)} blocks, and an old one beside a new one are the least; give a "
            "longer --latency or a smaller --backbone, or --method foster, a single network, "
            "without --latency"
        )
    print(f"{told} {most} blocks", file=sys.stderr)
    return most


def require_possible(request: TrainRequest, latency: str | None, bench: Path | None) -> None:
    """Blocks are bound in one way at most, and by a latency where there can be several.

    Raises:
        UsageError: as of `require_one_bound` and `milliseconds`, or the request has no use for a
            bound.
    """
    from edgecil.planning.block_limits import refuse_impossible_bound

    require_one_bound(request.max_blocks, latency, bench)
    if latency:
        milliseconds(latency)
    refuse_impossible_bound(
        request.max_blocks, request.no_merge, request.chosen_method, request.counting, latency
    )


def require_one_bound(max_blocks: int | None, latency: str | None, bench: Path | None) -> None:
    """Blocks are bound by their number, or by their milliseconds, on a device or here.

    Raises:
        UsageError: both are given, or a device without milliseconds.
    """
    if bench and not latency:
        raise UsageError("--bench says how fast a device is; give --latency, too")
    if max_blocks is not None and latency:
        raise UsageError("--max-blocks and --latency both bound the blocks; give one of them")


def milliseconds(latency: str) -> float:
    """Read "8ms" or "0.5s".

    Raises:
        UsageError: no number, no unit, or nothing at all.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)\s*", latency)
    if not found or not 0 < float(found[1]) < math.inf:
        raise UsageError(f"{latency!r} is no latency; give milliseconds a picture, as in 8ms")
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def _of_device(file: Path, settings: "RunSettings") -> _Times:
    from edgecil_devices._json import json_object

    try:
        found = json_object(file.read_bytes())
        setting, blocks = found["setting"], int(found["setting"]["blocks"])
        size_px = int(setting["image_size_px"])
        times = _times({blocks: found["latency_ms"]}, f"{setting['machine']} by {file}")
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise UsageError(
            f"{file} is not what edgecil bench --json prints ({error}); make it on the device: "
            f"edgecil bench BUNDLE --json > {file.name}"
        ) from error
    if size_px != settings.image_size_px:
        raise UsageError(
            f"{file} is of pictures of {size_px} pixels, and this run's have "
            f"{settings.image_size_px}; give --image-size {size_px}, or measure a bundle of this "
            "network on the device"
        )
    return times


def _of_this_machine(settings: "RunSettings") -> _Times:
    """Times of two bundles of untrained networks, of one block and of a few."""
    from edgecil_devices.bench_measuring import measure

    measured = {}
    with TemporaryDirectory(prefix="edgecil-latency-") as folder:
        for blocks in (1, _SOME_BLOCKS):
            bundle = _untrained(settings, blocks, Path(folder) / str(blocks))
            report = measure(bundle, None, _MEASURED_SECONDS, time.perf_counter())
            measured[blocks] = asdict(report)["latency_ms"]
    return _times(measured, f"{settings.backbone} on this machine")


def _untrained(settings: "RunSettings", blocks: int, run: Path) -> Path:
    """A bundle of a network of so many blocks as it is before training."""
    from edgecil.memory.codecs import codec_named
    from edgecil.memory.exemplars import ExemplarSet
    from edgecil.memory.state import State
    from edgecil_export import export

    one = replace(settings.tasks[0], classes=settings.classes[:1])
    tasks = tuple(replace(one, classes=(f"class-{k}",)) for k in range(blocks))
    state_settings = replace(settings, tasks=tasks).state_settings(blocks, blocks)
    network = state_settings.empty_network()
    nothing = ExemplarSet.empty(codec_named(settings.codec), settings.image_size_px)
    none = nothing.with_new_classes([()] * blocks)
    State.of(state_settings, network, none).write(run / "state", None)
    return export(run, run / "untrained.edgecil").path


def _times(of_blocks: Mapping[int, Mapping[str, Any]], source: str) -> _Times:
    """From the medians of one bundle, or of two, by their numbers of blocks."""
    few, *more = sorted(of_blocks)
    total_ms = {blocks: float(found["total"]["p50"]) for blocks, found in of_blocks.items()}
    if more:
        block_ms = (total_ms[more[0]] - total_ms[few]) / (more[0] - few)
    else:
        block_ms = float(of_blocks[few]["blocks"]["p50"]) / few
    block_ms = max(block_ms, 1e-3)
    return _Times(max(0.0, total_ms[few] - few * block_ms), block_ms, source)
