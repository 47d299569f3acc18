"""The verb `bench`, as both command lines run it: how fast is a bundle on this device?"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecil_devices.computation import AUTO
from edgecil_devices.errors import UsageError
from edgecil_devices.options import BUNDLE, COMPUTE, JSON, THREADS, option

if TYPE_CHECKING:
    from edgecil_devices.bench_measuring import Report
    from edgecil_devices.board import BoardState

_MOST_SECONDS = 3600.0

_REMEDIES = {
    "under-voltage": "use the board's own power supply and a short cable",
    "frequency capped": "use a better power supply, or cool the board",
    "throttled": "cool the board, or use a better power supply",
    "soft temperature limit": "cool the board",
}
"""What to do about each of `board.STATES`."""


@dataclass(frozen=True)
class BenchRequest:
    """What one call of `bench` asks for.

    Raises:
        UsageError: the values cannot be.
    """

    bundle: Path = field(metadata=BUNDLE)
    threads: int | None = field(default=None, metadata=THREADS)
    compute: str = field(default=AUTO, metadata=COMPUTE)
    seconds: float = option(10, "How long to measure, about.", metavar="S")
    json: bool = field(default=False, metadata=JSON)

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= _MOST_SECONDS:
            raise UsageError(
                f"--seconds must be above 0 and at most {_MOST_SECONDS:.0f}, not {self.seconds:g}"
            )


def bench(request: BenchRequest) -> None:
    """Measure a bundle and print what was found.

    Raises:
        UsageError: `threads` is below one.
        BundleError: the bundle cannot be used.
        StoreError: the store cannot be used.
    """
    start_s = time.perf_counter()
    from edgecil_devices.bench_measuring import measure

    if sys.stderr is not None and sys.stderr.isatty():
        print(f"measuring for {request.seconds:g} s ...", file=sys.stderr)
    report = measure(request.bundle, request.threads, request.seconds, start_s, request.compute)
    if request.json:
        print(json.dumps(asdict(report) | {"notes": list(notes(report))}, allow_nan=False))
    else:
        print("\n".join(_table(report)))


def notes(report: "Report") -> Iterator[str]:
    """What keeps this device from being faster, each with its remedy."""
    from edgecil_devices.profiles import profiles

    setting, profile = report.setting, profiles()[report.setting.profile]
    if report.load_average > setting.cores / 2:
        yield (
            f"other programs were running (load {report.load_average:.1f} on {setting.cores} "
            "cores), so these times are too long; stop them and measure again"
        )
    if report.after.throttling:
        for state in report.after.throttling.now:
            yield f"{state} now; {_REMEDIES[state]}"
        for state in report.after.throttling.has_happened:
            if state not in report.after.throttling.now:
                yield f"{state} has happened; {_REMEDIES[state]}"
    if profile.int8_compute_pays is False and setting.compute == "int8":
        yield (
            "this processor lacks dot products of bytes, so computing in int8 gains little or "
            "nothing, unless convolutions are depthwise, as EfficientNet-Lite0's; export the "
            "bundle with --compute fp32 too, and compare"
        )
    if setting.compute_note:
        yield setting.compute_note
    if profile.int8_compute_pays and setting.compute != "int8":
        yield (
            "this processor has dot products of bytes; export the bundle with --compute int8 too, "
            "and compare"
        )
    if report.memory_mb is not None and report.memory_mb > profile.memory_limit_mb:
        yield (
            f"more memory than the {profile.memory_limit_mb} MB that suit this board; "
            "export fewer or smaller blocks"
        )


def _table(report: "Report") -> Iterator[str]:
    from edgecil_devices.bench_measuring import PICTURE_SIZE_PX
    from edgecil_devices.prediction_lines import printable

    setting = report.setting
    yield printable(
        f"{setting.bundle}: blocks {setting.blocks}, classes {setting.classes}, "
        f"{setting.image_size_px} x {setting.image_size_px} pixels, weights {setting.weights}, "
        f"computes in {setting.compute}"
    )
    yield printable(
        f"{setting.machine}, profile {setting.profile}, cores {setting.cores}; "
        f"python {setting.python}, onnxruntime {setting.onnxruntime}"
    )
    yield f"threads {setting.threads}, {setting.arrangement}; loaded in {report.load_s:.2f} s"
    yield ""
    side = " x ".join(map(str, PICTURE_SIZE_PX))
    yield f"{'milliseconds':<18}{'p50':>9}{'p90':>9}{'p99':>9}"
    for part, times in report.latency_ms.items():
        yield f"  {part:<16}{times.p50:>9.2f}{times.p90:>9.2f}{times.p99:>9.2f}"
    yield f"  one at a time, a JPEG of {side}, n = {report.pictures} after warm-up"
    yield f"  the very first one took {report.first_ms:.1f} ms"
    yield ""
    yield f"{'pictures at once':<18}{'a second':>9}{'ms each':>9}{'n':>9}"
    for row in report.throughput:
        each_ms = 1000 / row.pictures_per_s
        yield f"  {row.batch:<16}{row.pictures_per_s:>9.1f}{each_ms:>9.2f}{row.pictures:>9}"
    yield ""
    yield from _states(report)
    for note in notes(report):
        yield printable(f"note: {note}")


def _states(report: "Report") -> Iterator[str]:
    """Memory, temperature, frequency and throttling, as far as they are known."""
    if report.memory_mb is not None and report.memory_in_batches_mb is not None:
        yield (
            f"memory       {report.memory_mb:.0f} MB at the peak, "
            f"{report.memory_in_batches_mb:.0f} MB with {report.throughput[-1].batch} pictures"
        )
    before, after = report.before, report.after
    if before.temperature_c is not None and after.temperature_c is not None:
        yield f"temperature  {before.temperature_c:.0f} C before, {after.temperature_c:.0f} C after"
    if after.governor is not None:
        yield f"frequency    {_mhz(before)} before, {_mhz(after)} after, governor {after.governor}"
    if after.throttling is not None:
        now = ", ".join(after.throttling.now) or "nothing"
        ever = ", ".join(after.throttling.has_happened) or "nothing"
        yield f"throttling   now: {now}; has happened: {ever}"


def _mhz(state: "BoardState") -> str:
    return "unknown" if state.frequency_mhz is None else f"{state.frequency_mhz} MHz"
