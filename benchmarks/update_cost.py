"""What an update costs a device: time, bytes written to its card, and how often it waits for it.

Claim: an update writes what it carries plus a few small files, not the whole bundle.

    python benchmarks/update_cost.py BASE.edgecil NEXT.edgecil NEXT.update

Each of n runs copies a store with the base and then runs `python -m edgecil_devices update` with
the update, or `install` with the whole bundle, self-test in a child process included. Bytes are
those that the kernel counts as written by these processes (`ru_oublock`, whole pages; 0 on a file
system in memory), without the file system's own journal; with the journal, on ext4 in an emulated
Pi, see `power_cuts.sh`. Medians; hardware, n and sizes are in `results/update_cost.json`.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install


def cost_of(verb: str, file: Path, base: Path, folder: Path) -> tuple[float, int, int]:
    """Seconds, bytes written and calls of fsync of one run of `verb` on a copy of `base`."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(base, store)
    os.sync()
    command = [sys.executable, "-m", "edgecil_devices", verb, str(file), "--store", str(store)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or check(store):
        sys.exit(f"{verb} {file} failed")
    return seconds, usage.ru_oublock * 512, _fsyncs(command, base, store)


def _fsyncs(command: list[str], base: Path, store: Path) -> int:
    """Counted in a run of its own, as counting takes time; 0 where strace is not at hand."""
    if not shutil.which("strace"):
        return 0
    shutil.rmtree(store)
    shutil.copytree(base, store)
    trace = store.with_name("trace")
    subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-e", "trace=fsync", *command],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return trace.read_text().count("fsync(")


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "bundle", "update"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--name", default="update_cost", help="of the file with the results")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    content: dict[str, Any] = {
        "n": arguments.n,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "base_bytes": arguments.base.stat().st_size,
    }
    with TemporaryDirectory(dir=arguments.out) as name:
        base = Path(name, "base")
        install(arguments.base, base)
        for verb, file in (("update", arguments.update), ("install", arguments.bundle)):
            runs = [cost_of(verb, file, base, Path(name)) for _ in range(arguments.n)]
            seconds, written, fsyncs = (median(values) for values in zip(*runs, strict=True))
            content[verb] = {
                "file_bytes": file.stat().st_size,
                "seconds": round(seconds, 2),
                "written_bytes": int(written),
                "fsyncs": int(fsyncs),
            }
    text = json.dumps(content, indent=1, allow_nan=False)
    (arguments.out / f"{arguments.name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
