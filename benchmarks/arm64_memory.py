"""Peak memory of the device's commands on a real arm64 kernel with 512 MB.

Claim: with a bundle of ResNet32 with ten blocks, `predict`, `serve` under four clients, `install`
and `doctor` stay below 130 MB at their peak.

    python benchmarks/arm64_memory.py [--bundle BUNDLE] [--memory-mb 512]

An emulated arm64 machine, `tests/arm64/pi-vm.sh`, boots Debian's kernel with the real aarch64
wheels; `arm64_memory_guest.py` runs there and notes for each process, or for the largest of its
children, the most resident memory that the kernel says it had. The cores and the page size, 4 kB,
are a Raspberry Pi 4's; the speed of an emulation says nothing. Weights are random. Takes some
minutes. Results: `results/arm64_memory.md` and `.json`.
"""

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
MACHINE = HERE.parent / "tests" / "arm64" / "pi-vm.sh"
REQUIREMENTS = "numpy pillow onnxruntime cryptography"
MOST_MB = 130
PICTURES = 8
SEED = 1993


def make_job(folder: Path, bundle: Path) -> None:
    """Fill the folder that the machine finds as /data."""
    package = HERE.parent / "devices" / "edgecil_devices"
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(bundle, folder / "bundle.edgecil")
    shutil.copy(HERE / "arm64_memory_guest.py", folder)
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(SEED)
    for number in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        coarse.resize((640, 480)).save(folder / "pictures" / f"{number}.jpg")
    # There is no init system that would bring up the loopback interface.
    job = "/bin/busybox ifconfig lo up && exec python3 arm64_memory_guest.py\n"
    (folder / "job.sh").write_text(job)


def measure(bundle: Path, memory_mb: int) -> dict[str, Any]:
    """What `arm64_memory_guest.py` found.

    Raises:
        CalledProcessError: the machine could not be made.
    """
    environment = {"PI_REQ": REQUIREMENTS, "PI_PYTHON": sys.executable} | os.environ
    with TemporaryDirectory() as name:
        disk, job = Path(name) / "disk.ext4", Path(name) / "job"
        job.mkdir()
        make_job(job, bundle)
        subprocess.run(["bash", MACHINE, "new", disk], env=environment, check=True)
        booted = subprocess.run(
            ["bash", MACHINE, "boot", disk, "virt", job],
            env=environment | {"VM_MEM": str(memory_mb)},
            stdout=subprocess.PIPE,
            check=True,
            timeout=900,
        )
    console = booted.stdout.decode(errors="replace")
    lines = [line for line in console.splitlines() if line.startswith("MEASURED ")]
    if "JOB rc=0" not in console or not lines:
        sys.exit(f"error: the machine did not finish its job; its console said:\n{console}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("MEASURED "))
    return found


def report(found: dict[str, Any], bundle_mb: float, memory_mb: int) -> list[str]:
    """The results in Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [
        "# Peak memory on an arm64 kernel",
        "",
        f"A bundle of {bundle_mb:.1f} MB, ResNet32 with ten blocks, fp32; an emulated machine of "
        f"two Cortex-A72 cores with {memory_mb} MB, of which {found['free_mb']:.0f} MB were free; "
        f"Linux {found['kernel']}, pages of {found['page_kb']} kB; {versions}. Made by "
        "`benchmarks/arm64_memory.py`, which says how.",
        "",
        "| process | peak, MB |",
        "|---|---|",
    ]
    return [*lines, *(f"| {what} | {peak_mb:.1f} |" for what, peak_mb in found["peak_mb"].items())]


def main() -> int:
    """Measure, print, write; the exit code is 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="another bundle than random weights")
    parser.add_argument("--memory-mb", type=int, default=512, help="of the machine")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        ten_blocks = runpy.run_path(str(HERE / "footprint.py"))["ten_blocks"]
        bundle = options.bundle or ten_blocks(Path(folder))
        bundle_mb = bundle.stat().st_size / 1e6
        found = measure(bundle, options.memory_mb)
    lines = report(found, bundle_mb, options.memory_mb)
    print(*lines, sep="\n")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "arm64_memory.md").write_text("\n".join(lines) + "\n")
    content = {"bundle_mb": bundle_mb, "memory_mb": options.memory_mb} | found
    (options.out / "arm64_memory.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    return int(max(found["peak_mb"].values()) >= MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
