"""How long a photo takes with EfficientNet-Lite0's bundle, and how much memory.

Claims, side by side in one run, on one thread and one picture at a time: with one task a bundle
(the trunk to b14, a thin block, a head) takes no longer than the whole Lite0 that a user exports
with torch.onnx and runs with onnxruntime alone, which knows the same classes; ten tasks take less
than twice as long as one; and int8 is faster than fp32.

    python benchmarks/lite0_latency.py           # some ten minutes on two idle cores
    python benchmarks/lite0_latency.py --short   # shows that it runs, and nothing else

- bundle: as `edgecil_devices` runs it, from uint8 pixels to logits; fp32, and int8 compute.
- single: one graph with the published last layer of 1280 channels, exported with torch.onnx's
  defaults for one picture, in a session with onnxruntime's defaults but for the number of threads;
  from the same pixels, scaled by numpy as its user must; int8 is `quantize_static` of it, by
  channel, else with its defaults.

Weights are random, with statistics of noise; time and memory do not depend on them. Contenders take
turns in bursts, so that a change of the machine's pace meets all of them; times are medians. Memory
is what the kernel says a process of its own held at most (VmHWM) after ten pictures; `start` is the
same before anything is loaded, numpy and onnxruntime imported.

On a Raspberry Pi's cores instructions can be counted in an emulator, of the very files that

    python benchmarks/lite0_latency.py --short --keep FOLDER

leaves behind: a plug-in for qemu-aarch64 that counts what each translated block executes, on
`-cpu cortex-a72` and `cortex-a76`, run with `tests/arm64/on_device.py` on each bundle, and the
difference of runs with 12 and with 2 pictures divided by ten.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import latency_bursts
from edgecil_devices import read_bundle
from edgecil_devices._onnxruntime import onnxruntime
from edgecil_devices.runtime import Runtime
from latency_bursts import Bursts
from lite0_contenders import (
    CLASSES_PER_TASK,
    Pixels,
    as_images,
    noise_pictures,
    write_bundles,
    write_single,
)

SIZES_PX, TASKS, THREADS, ROUNDS = (128, 160, 224), (1, 10), (1, 2), 10
BURSTS = Bursts(seconds=0.15, least=3, warm_up=2)
CONTENDERS = ("single fp32", "bundle fp32", "single int8", "bundle int8")
MOST_TIMES_FOR_TEN_TASKS = 2.0

PEAK = """
import sys
import numpy as np
from edgecil_devices._onnxruntime import onnxruntime
path, threads = sys.argv[1], int(sys.argv[2])
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6
print(peak())
if path.endswith(".onnx"):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    for _ in range(10):
        session.run(None, {"images": np.zeros(shape, np.float32)})
else:
    from edgecil_devices.bundle import read_bundle
    from edgecil_devices.runtime import Runtime
    bundle = read_bundle(path)
    size_px = bundle.manifest.preprocessing.image_size_px
    runtime = Runtime(bundle, threads)
    del bundle
    for _ in range(10):
        runtime.run(np.zeros((1, size_px, size_px, 3), np.uint8))
print(peak())
"""


class Row(NamedTuple):
    """One setting: milliseconds a picture, megabytes of memory and bytes of files by contender."""

    size_px: int
    tasks: int
    threads: int
    ms: dict[str, float]
    peak_mb: dict[str, float]
    start_mb: float
    file_bytes: dict[str, int]


def files_of(folder: Path, size_px: int, tasks: int) -> dict[str, Path]:
    """The file of each contender."""
    folder = folder / f"{size_px}px-{tasks}"
    folder.mkdir()
    (folder / "run").mkdir()
    write_bundles(folder, size_px, tasks)
    write_single(folder, size_px, tasks * CLASSES_PER_TASK)
    ends = {"single": "onnx", "bundle": "edgecil"}
    found = {}
    for name in CONTENDERS:
        kind, compute = name.split()
        found[name] = folder / f"{compute}.{ends[kind]}"
    return found


def contender(path: Path, threads: int) -> Callable[[Pixels], object]:
    """From pixels (1, S, S, 3) to logits."""
    if path.suffix == ".edgecil":
        return Runtime(read_bundle(path), threads).run
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"images": as_images(pixels)})


def measure(files: dict[str, Path], size_px: int, tasks: int, threads: int, rounds: int) -> Row:
    """One row; contenders take turns."""
    pixels = noise_pictures(1, size_px)
    running = {name: contender(path, threads) for name, path in files.items()}
    ms = latency_bursts.median_ms(running, pixels, rounds, BURSTS)
    peaks = {name: peak_mb(path, threads) for name, path in files.items()}
    return Row(
        size_px,
        tasks,
        threads,
        ms,
        {name: peak for name, (_, peak) in peaks.items()},
        median(start for start, _ in peaks.values()),
        {name: path.stat().st_size for name, path in files.items()},
    )


def peak_mb(path: Path, threads: int) -> tuple[float, float]:
    """Megabytes before anything is loaded and at the peak, of a process of its own."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path), str(threads)],
            env=os.environ | {"XDG_CACHE_HOME": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    start, peak = map(float, done.stdout.split())
    return start, peak


HEADING = (
    "| px | tasks | threads | "
    + " | ".join(f"{name}, ms" for name in CONTENDERS)
    + " | "
    + " | ".join(f"{name}, MB" for name in CONTENDERS)
    + " |\n"
    + "|---" * (3 + 2 * len(CONTENDERS))
    + "|"
)


def table_line(row: Row) -> str:
    """One line of the table, in Markdown."""
    cells = [str(row.size_px), str(row.tasks), str(row.threads)]
    cells += [f"{row.ms[name]:.2f}" for name in CONTENDERS]
    cells += [f"{row.peak_mb[name]:.0f}" for name in CONTENDERS]
    return f"| {' | '.join(cells)} |"


def findings(rows: Sequence[Row]) -> list[str]:
    """What the claims come to, a line each."""
    lines = []
    by_setting = {(row.size_px, row.tasks): row.ms for row in rows if row.threads == 1}
    for (size_px, tasks), ms in by_setting.items():
        if tasks == 1:
            pairs = (("bundle fp32", "single fp32"), ("bundle int8", "bundle fp32"))
            for name, other in pairs:
                lines.append(_verdict(f"{size_px} px: {name}", ms[name], other, ms[other], 1.0))
        elif one := by_setting.get((size_px, 1)):
            for name in ("bundle fp32", "bundle int8"):
                told = f"{size_px} px: {name} with {tasks} tasks"
                most = MOST_TIMES_FOR_TEN_TASKS
                lines.append(_verdict(told, ms[name], "with one", one[name], most))
    return lines


def _verdict(name: str, ms: float, other: str, other_ms: float, most: float) -> str:
    ratio = ms / other_ms
    verdict = "as claimed" if ratio <= most else "MISSED"
    return f"{name} takes {ratio:.2f} times as long as {other}; claimed {most:g} at most: {verdict}"


def main() -> None:
    """Measure every setting and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="one setting, once")
    parser.add_argument("--keep", type=Path, help="leave the files in this new folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.rounds = 1 if options.short else ROUNDS
    sizes, tasks, threads = ((96,), (1,), (1,)) if options.short else (SIZES_PX, TASKS, THREADS)
    load = os.getloadavg()[0]
    print(HEADING)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        if options.keep:
            options.keep.mkdir(parents=True)
        for size_px in sizes:
            for count in tasks:
                files = files_of(options.keep or Path(scratch), size_px, count)
                for number in threads:
                    rows.append(measure(files, size_px, count, number, options.rounds))
                    print(table_line(rows[-1]), flush=True)
    print(*findings(rows), sep="\n")
    latency_bursts.write_results(
        "lite0_latency",
        "Latency and memory of EfficientNet-Lite0's bundle",
        f"Milliseconds a picture, medians over {options.rounds} bursts, and megabytes of memory at "
        f"the peak, of which {rows[0].start_mb:.0f} are Python, numpy and onnxruntime.",
        rows,
        [HEADING, *map(table_line, rows)],
        findings(rows),
        options,
        load,
    )


if __name__ == "__main__":
    main()
