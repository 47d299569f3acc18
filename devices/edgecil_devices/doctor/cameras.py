"""The finding about cameras: which there are, and whether what reads them is there."""

import os
import subprocess
from pathlib import Path

from edgecil_devices.children import run_python
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.video_nodes import video_nodes

_RECEIVERS = ("unicam", "rp1-cfe")
"""What the kernel calls the receiver of a CSI camera: Raspberry Pi 3 and 4, and 5. It is there only
if a camera is; the other nodes of a board convert pictures."""
_TIMEOUT_S = 60
_PICAMERA2 = (
    "run: sudo apt install python3-picamera2, and make the environment with: python3 -m venv "
    "--system-site-packages"
)


def camera(root: Path = Path("/")) -> Finding:
    """Which cameras there are, and what they lack; none is no fault.

    Args:
        root: where `dev` and `sys` lie.
    """
    nodes = video_nodes(root) or []
    usb = [node for node in nodes if node.is_usb]
    csi = sum(node.name.startswith(_RECEIVERS) for node in nodes)
    names = ", ".join(f"{node.name} (camera:{number})" for number, node in enumerate(usb))
    if usb and (why := _cannot_import("cv2")):
        remedy = "run: pip install 'edgecil[camera]'"
        return Finding("warn", "camera", f"{names} needs OpenCV ({why}); {remedy}")
    paths = [root / f"dev/video{node.number}" for node in usb]
    if closed := [path for path in paths if not os.access(path, os.R_OK | os.W_OK)]:
        remedy = "run: sudo adduser $USER video, and log in again"
        return Finding("warn", "camera", f"{names}: {closed[0]} may not be opened; {remedy}")
    if csi and (why := _cannot_import("picamera2")):
        return Finding("warn", "camera", f"a CSI camera needs picamera2 ({why}); {_PICAMERA2}")
    words = ", ".join(f"csi:{number}" for number in range(csi))
    found = [f"{names} through OpenCV"] * bool(usb) + [f"{words} through picamera2"] * bool(csi)
    return Finding("ok", "camera", ", ".join(found) or "none")


def _cannot_import(module: str) -> str | None:
    """Why not; None if a new process can. Libraries of a system may be built for another numpy."""
    try:
        ended = run_python(["-c", f"import {module}"], _TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"not imported in {_TIMEOUT_S} s"
    return None if ended.code == 0 else ended.killed_by or ended.complaint
