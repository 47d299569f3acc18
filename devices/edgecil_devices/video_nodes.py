"""The video devices that the kernel lists, by the nodes that give pictures."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class VideoNode(NamedTuple):
    """The first node of a video device."""

    number: int
    """N of /dev/videoN."""
    name: str
    """Of the device."""
    is_usb: bool


def video_nodes(root: Path = Path("/")) -> list[VideoNode] | None:
    """The first node of each video device, by number; None where the system does not list them.

    A USB camera's second node gives data about its frames.

    Args:
        root: where `sys` lies.
    """
    devices = root / "sys/class/video4linux"
    if not devices.is_dir():
        return None
    found = []
    for entry in devices.glob("video[0-9]*"):
        with suppress(OSError):  # unplugged at this moment
            if (entry / "index").read_text().strip() == "0":
                name = (entry / "name").read_text(errors="replace").strip()
                # The entry is a link to its place in the tree of devices, /sys/devices/.../usb1/...
                is_usb = any(part.startswith("usb") for part in entry.resolve().parts)
                found.append(VideoNode(int(entry.name.removeprefix("video")), name, is_usb))
    return sorted(found)
