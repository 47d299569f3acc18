"""`doctor`: can this device run edgecil, and if not, what to do about it? One line a finding."""

import json
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgecil_devices.errors import EdgecilError

HELP = {
    "bundle": "A bundle or a store to test too.",
    "json": "Print one JSON object.",
}
"""What both command lines say of the arguments."""

CORES = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}
"""ARM's part numbers in /proc/cpuinfo: Raspberry Pi 3 and Zero 2, 4, and 5."""

_TELLING = ("asimd", "asimddp", "avx2", "avx_vnni", "avx512_vnni")
_IMPORT = "import onnxruntime; print(onnxruntime.__version__)"
_IMPORT_TIMEOUT_S = 120


@dataclass(frozen=True)
class Finding:
    """What doctor says of one thing; of a warning or failure, `says` ends with the remedy."""

    state: Literal["ok", "warn", "fail"]
    name: str
    says: str


_DEATHS = {"SIGILL": "an illegal instruction, SIGILL", "SIGSEGV": "a segmentation fault, SIGSEGV"}


def examine(path: Path | None = None) -> Iterator[Finding]:
    """Look at this device, and at a bundle or store if there is one; never raises of a fault."""
    yield _bits()
    yield _python()
    yield _processor(Path("/proc/cpuinfo"))
    yield _memory(Path("/proc/meminfo"))
    yield _space(path or Path.home())
    onnxruntime = import_onnxruntime()
    yield onnxruntime
    if path is not None and onnxruntime.state != "fail":
        yield _bundle(path)


def import_onnxruntime(python: str = sys.executable) -> Finding:
    """Import onnxruntime in a process of its own, since the wrong build kills the process."""
    name = "onnxruntime"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        child = subprocess.run(
            [python, "-c", _IMPORT],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Finding("fail", name, f"not imported in {_IMPORT_TIMEOUT_S} s; restart the device")
    if child.returncode == 0:
        return Finding("ok", name, child.stdout.strip())
    if child.returncode < 0:
        died = signal.Signals(-child.returncode).name
        return Finding(
            "fail",
            name,
            f"importing it ends the process ({_DEATHS.get(died, died)}): this build does not suit "
            "the processor, as 1.21.0 does not suit a Cortex-A53 or A72; "
            "run: pip install --upgrade 'onnxruntime>=1.24.4'",
        )
    lines = child.stderr.strip().splitlines() or ["no reason given"]
    return Finding("fail", name, f"{lines[-1]}; run: pip install 'onnxruntime>=1.24.4'")


def _bits() -> Finding:
    bits, told = struct.calcsize("P") * 8, f"{platform.system()} {platform.machine()}"
    if bits == 64:
        return Finding("ok", "system", f"{told}, 64 bits")
    return Finding("fail", "system", f"{told}, {bits} bits; install a 64-bit operating system")


def _python() -> Finding:
    # pip has already refused a Python that is too old.
    return Finding("ok", "python", platform.python_version())


def _processor(cpuinfo: Path) -> Finding:
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    parts = re.findall(r"^CPU part\s*: (\S+)", text, re.MULTILINE)
    models = re.findall(r"^model name\s*: (.+)", text, re.MULTILINE)
    listed = re.search(r"^(?:Features|flags)\s*: (.+)", text, re.MULTILINE)
    features = [word for word in _TELLING if listed and word in listed[1].split()]
    core = CORES.get(parts[0], f"ARM part {parts[0]}") if parts else (models or ["unknown"])[0]
    return Finding("ok", "processor", f"{core}, {os.cpu_count()} cores: {' '.join(features)}")


def _memory(meminfo: Path) -> Finding:
    page = f"pages of {os.sysconf('SC_PAGE_SIZE') // 1024} kB"
    available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    if available is None:
        return Finding("warn", "memory", f"unknown, {page}; use a newer kernel")
    free_mb = int(available[1]) // 1000
    if free_mb < 150:
        return Finding("warn", "memory", f"{free_mb} MB free, {page}; stop other programs")
    return Finding("ok", "memory", f"{free_mb} MB free, {page}")


def _space(path: Path) -> Finding:
    if not path.exists():
        return Finding("fail", "space", f"{path} does not exist; check the path")
    free_mb = shutil.disk_usage(path).free // 1_000_000
    if free_mb < 200:
        return Finding("warn", "space", f"{free_mb} MB free at {path}; make room")
    return Finding("ok", "space", f"{free_mb} MB free at {path}")


def _bundle(path: Path) -> Finding:
    from edgecil_devices.bundle import read_bundle
    from edgecil_devices.selftest import self_test
    from edgecil_devices.store.reading import read_current

    try:
        found = self_test(read_current(path).bundle if path.is_dir() else read_bundle(path))
    except (EdgecilError, OSError) as error:
        return Finding("fail", "bundle", str(error))
    if not found.samples:
        return Finding("warn", "bundle", "runs, but has no golden samples; export it again")
    told = f"{found.samples} golden samples agree, within {found.max_difference:.1e}"
    return Finding("ok", "bundle", told)


def tell(path: Path | None, *, as_json: bool) -> int:
    """Print the findings; the exit code is 1 if one of them is a failure."""
    findings = list(examine(path))
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(f"{finding.state:4}  {finding.name:11}  {finding.says}")
    return int(any(finding.state == "fail" for finding in findings))


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `python -m edgecil_devices doctor`."""
    parser.add_argument("bundle", nargs="?", type=Path, help=HELP["bundle"])
    parser.add_argument("--json", action="store_true", help=HELP["json"])


def run(arguments: Namespace) -> int:
    """Run the verb; gives the exit code."""
    return tell(arguments.bundle, as_json=arguments.json)
