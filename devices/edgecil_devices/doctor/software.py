"""Findings about Python, onnxruntime and cameras."""

import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path

from edgecil_devices.children import run_python
from edgecil_devices.doctor.finding import Finding

UPGRADE = "run: pip install --upgrade 'onnxruntime>=1.24.4'"
"""What cures an onnxruntime that the processor cannot run."""

DEATHS = {"SIGILL": "an illegal instruction, SIGILL", "SIGSEGV": "a segmentation fault, SIGSEGV"}
"""Signals in words."""

_IMPORT = "import onnxruntime; print(onnxruntime.__version__)"
_IMPORT_TIMEOUT_S = 120
_NO_CAMERAS = ("codec", "isp", "hevc")
"""A Raspberry Pi's video nodes that convert pictures have such names."""


def python() -> Finding:
    """The version; pip has already refused one that is too old."""
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
        return Finding("ok", name, ended.printed.strip())
    if ended.killed_by:
        return Finding(
            "fail",
            name,
            f"importing it ends the process ({DEATHS.get(ended.killed_by, ended.killed_by)}): this "
            f"build does not suit the processor, as 1.21.0 does not suit a Cortex-A53 or A72; "
            f"{UPGRADE}",
        )
    return Finding("fail", name, f"{ended.complaint}; {UPGRADE}")


def camera(root: Path = Path("/")) -> Finding:
    """Which cameras there are, and whether what reads them is there; none is no fault.

    Args:
        root: where `dev` and `sys` lie.
    """
    usb = _usb_cameras(root)
    csi = ["csi through picamera2"] if find_spec("picamera2") else []
    if not usb:
        return Finding("ok", "camera", ", ".join(csi) or "none")
    names = ", ".join(usb.values())
    if not find_spec("cv2"):
        return Finding("warn", "camera", f"{names}; to use it run: pip install 'edgecil[camera]'")
    closed = [node for node in usb if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return Finding(
            "warn",
            "camera",
            f"{names}, but {closed[0]} may not be opened; run: sudo adduser $USER video, and log "
            "in again",
        )
    return Finding("ok", "camera", ", ".join([f"{names} through OpenCV", *csi]))


def _usb_cameras(root: Path) -> dict[Path, str]:
    """The names of cameras by their device nodes, each once though it may have several."""
    found: dict[str, Path] = {}
    for entry in sorted((root / "sys/class/video4linux").glob("video*")):
        try:
            name = (entry / "name").read_text(errors="replace").strip()
        except OSError:
            continue  # unplugged at this moment
        if not any(word in name for word in _NO_CAMERAS):
            found.setdefault(name, root / "dev" / entry.name)
    return {node: name for name, node in found.items()}
