"""Findings about Python and onnxruntime."""

import os
import platform
import subprocess

from edgecil_devices.children import run_python
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.floors import OLDEST_ONNXRUNTIME, release_numbers

UPGRADE = f"run: pip install --upgrade 'onnxruntime>={OLDEST_ONNXRUNTIME}'"
"""What cures an onnxruntime that is too old, or that the processor cannot run."""

DEATHS = {"SIGILL": "an illegal instruction, SIGILL", "SIGSEGV": "a segmentation fault, SIGSEGV"}
"""Signals in words."""

_IMPORT = "import onnxruntime; print(onnxruntime.__version__)"
_IMPORT_TIMEOUT_S = 120


def python() -> Finding:
    """The version; `edgecil_devices.__main__` has already refused one that is too old."""
    return Finding("ok", "python", platform.python_version())


def telemetry() -> Finding:
    """Whether onnxruntime keeps to itself."""
    if (asked := os.environ.get("ORT_DISABLE_TELEMETRY", "1")) == "1":
        return Finding("ok", "telemetry", "off")
    return Finding(
        "warn",
        "telemetry",
        f"ORT_DISABLE_TELEMETRY={asked} lets onnxruntime report to its maker; "
        "run: unset ORT_DISABLE_TELEMETRY",
    )


def onnxruntime() -> Finding:
    """Import onnxruntime in a process of its own, since the wrong build kills the process."""
    name = "onnxruntime"
    try:
        ended = run_python(["-c", _IMPORT], _IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Finding("fail", name, f"not imported in {_IMPORT_TIMEOUT_S} s; restart the device")
    if ended.code == 0:
        found = ended.printed.strip()
        if release_numbers(found) < release_numbers(OLDEST_ONNXRUNTIME):
            return Finding("fail", name, f"{found} can be made to read foreign files; {UPGRADE}")
        return Finding("ok", name, found)
    if ended.killed_by:
        return Finding(
            "fail",
            name,
            f"importing it ends the process ({DEATHS.get(ended.killed_by, ended.killed_by)}): this "
            "build does not suit the processor, as 1.21.0 does not suit a Cortex-A53 or A72; "
            f"{UPGRADE}",
        )
    return Finding("fail", name, f"{ended.complaint}; {UPGRADE}")
