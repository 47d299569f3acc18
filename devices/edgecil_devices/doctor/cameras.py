"""The finding about cameras: which there are, and whether what reads them is there."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from edgecil_devices.children import run_python
from edgecil_devices.doctor.finding import Finding

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
    nodes = _first_nodes(root)
    usb = {node: name for node, (name, is_usb) in nodes.items() if is_usb}
    csi = any(name.startswith(_RECEIVERS) for name, _ in nodes.values())
    names = ", ".join(usb.values())
    if usb and (why := _cannot_import("cv2")):
        remedy = "run: pip install 'edgecil[camera]'"
        return Finding("warn", "camera", f"{names} needs OpenCV ({why}); {remedy}")
    if closed := [node for node in usb if not os.access(node, os.R_OK | os.W_OK)]:
        remedy = "run: sudo adduser $USER video, and log in again"
        return Finding("warn", "camera", f"{names}: {closed[0]} may not be opened; {remedy}")
    if csi and (why := _cannot_import("picamera2")):
        return Finding("warn", "camera", f"a CSI camera needs picamera2 ({why}); {_PICAMERA2}")
    found = [f"{names} through OpenCV"] * bool(usb) + ["csi through picamera2"] * csi
    return Finding("ok", "camera", ", ".join(found) or "none")


def _first_nodes(root: Path) -> dict[Path, tuple[str, bool]]:
    """The first node of each video device, its name, and whether it is a USB device.

    A USB camera's second node gives data about its frames.
    """
    found = {}
    for entry in (root / "sys/class/video4linux").glob("video*"):
        with suppress(OSError):  # unplugged at this moment
            if (entry / "index").read_text().strip() == "0":
                name = (entry / "name").read_text(errors="replace").strip()
                # The entry is a link to its place in the tree of devices, /sys/devices/.../usb1/...
                is_usb = any(part.startswith("usb") for part in entry.resolve().parts)
                found[root / "dev" / entry.name] = name, is_usb
    return dict(sorted(found.items()))


def _cannot_import(module: str) -> str | None:
    """Why not; None if a new process can. Libraries of a system may be built for another numpy."""
    try:
        ended = run_python(["-c", f"import {module}"], _TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"not imported in {_TIMEOUT_S} s"
    return None if ended.code == 0 else ended.killed_by or ended.complaint
