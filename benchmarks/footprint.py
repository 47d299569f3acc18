"""What the runtime takes of a small computer: memory, start, and time while it waits.

Claims, for ResNet32 with ten blocks: a process that classifies needs less than 130 MB at its peak;
importing edgecil_devices and loading the bundle takes less than 0.6 s; and an idle
`predict --watch` less than 1 % of one core.

    python benchmarks/footprint.py [--bundle BUNDLE] [--seconds 20]

Each figure is of processes of its own: the peak is the resident memory that the kernel says the
process had at most, after 20 pictures of noise; the start is the median of five, from before the
import to the loaded classifier, Python's own start not counted; both for the first start, which
finds out how the blocks had better share the threads, and for later ones, which know. Weights are
random. What is measured stands in `results/footprint.json`, with hardware and versions.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

MOST_MEMORY_MB, MOST_START_S, MOST_IDLE_PERCENT = 130.0, 0.6, 1.0
STARTS = 5
THREADS = (1, 2)
SETTLING_S = 3.0

CLASSIFY = """
import json, sys, time
start = time.perf_counter()
import edgecil_devices
classifier = edgecil_devices.Classifier.load(sys.argv[1], int(sys.argv[2]))
start_s = time.perf_counter() - start
import numpy as np
size = classifier.manifest.preprocessing.image_size_px
rng = np.random.default_rng(0)
for _ in range(20):
    classifier.predict(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
# Not ru_maxrss, in which the peak of the process that started this one lives on.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak_mb = int(peak.split()[1]) * 1024 / 1e6
print(json.dumps({"start_s": start_s, "peak_mb": peak_mb}, allow_nan=False))
"""


def starts(bundle: Path, threads: int) -> dict[str, float]:
    """Seconds and megabytes of the first start and of later ones."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache}
        command = [sys.executable, "-c", CLASSIFY, str(bundle), str(threads)]
        found = [
            json.loads(
                subprocess.run(command, env=environment, check=True, capture_output=True).stdout
            )
            for _ in range(1 + STARTS)
        ]
    first, *later = found
    return {
        "first_start_s": first["start_s"],
        "start_s": median(one["start_s"] for one in later),
        "first_peak_mb": first["peak_mb"],
        "peak_mb": max(one["peak_mb"] for one in later),
    }


def idle_percent(bundle: Path, seconds: float) -> float:
    """Processor time of a waiting `predict --watch`, in percent of one core."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgecil_devices", "predict", str(bundle)]
        process = subprocess.Popen([*command, "--watch", folder], stderr=subprocess.DEVNULL)
        try:
            time.sleep(SETTLING_S)
            before, start = _processor_s(process.pid), time.perf_counter()
            time.sleep(seconds)
            used_s = _processor_s(process.pid) - before
            return 100 * used_s / (time.perf_counter() - start)
        finally:
            process.terminate()
            process.wait()


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ten_blocks(folder: Path) -> Path:
    """A bundle of ResNet32 with ten blocks, as the benchmark of latency makes it."""
    from edgecil_export import export
    from latency_contenders import random_state

    random_state(10).write(folder / "run" / "state", None)
    return export(folder / "run", folder / "ten.edgecil").path


def main() -> int:
    """Measure, print, write; the exit code is 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="another bundle than random weights")
    parser.add_argument("--seconds", type=float, default=20, help="how long to watch idleness")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or ten_blocks(Path(folder))
        size_mb = bundle.stat().st_size / 1e6
        by_threads = {str(threads): starts(bundle, threads) for threads in THREADS}
        idle = idle_percent(bundle, options.seconds)
    content: dict[str, Any] = {
        "bundle_mb": size_mb,
        "threads": by_threads,
        "idle_watch_percent": idle,
        "starts": STARTS,
        "load_before": load,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("edgecil", "numpy", "onnxruntime", "pillow")},
    }
    holds = idle < MOST_IDLE_PERCENT
    for threads, found in by_threads.items():
        holds &= max(found["peak_mb"], found["first_peak_mb"]) < MOST_MEMORY_MB
        holds &= found["start_s"] < MOST_START_S
        print(
            f"threads {threads}: import and load {found['start_s']:.2f} s "
            f"(first {found['first_start_s']:.2f} s, claimed {MOST_START_S}), peak "
            f"{found['peak_mb']:.0f} MB (first {found['first_peak_mb']:.0f} MB, claimed "
            f"{MOST_MEMORY_MB:.0f})"
        )
    print(f"idle watch: {idle:.2f} % of a core (claimed {MOST_IDLE_PERCENT:.0f} %)")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "footprint.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
