"""Frames of a camera, always RGB: USB through OpenCV, the ribbon cable's (CSI) through picamera2.

Both libraries are imported when a camera is asked for; neither is part of a base installation.
"""

import os
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecil_devices.errors import EdgecilError, MissingExtraError, UsageError
from edgecil_devices.video_nodes import video_nodes

Frame: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3), RGB."""

CSI_SIZE_PX = (640, 480)
"""Width and height that a CSI camera is asked for; networks see far fewer pixels."""

_MOST_MISSED_FRAMES = 30
"""So many in a row mean that the camera is gone; a second's worth."""


class _MissingSystemPackageError(MissingExtraError):
    def __init__(self, reason: object) -> None:
        UsageError.__init__(
            self,
            f"csi needs the system's picamera2 ({reason}); run: sudo apt install "
            "python3-picamera2, and make the environment with: python3 -m venv "
            "--system-site-packages",
        )


def is_camera(word: str) -> bool:
    """Whether `word` means a camera: `camera`, `camera:N`, `csi` or `csi:N`."""
    return word.partition(":")[0] in ("camera", "csi")


def camera_frames(word: str, root: Path = Path("/")) -> Generator[Frame, None, None]:
    """The frames of a camera, the newest each time, until the iterator is closed.

    Args:
        word: `camera` or `camera:0` for the first USB camera, `camera:1` for the next; likewise
            `csi` and `csi:1` for those of ribbon cables.
        root: where `sys` lies.

    Raises:
        UsageError: `word` is no camera.
        MissingExtraError: the library for this camera is not installed.
        EdgecilError: the camera cannot be opened, or has gone.
    """
    kind, _, typed = word.partition(":")
    number = typed or "0"
    if not (is_camera(word) and number.isascii() and number.isdecimal()):
        raise UsageError(
            f"{word} is no camera; give camera or csi, or one with a number: camera:1, csi:1"
        )
    return _csi_frames(int(number)) if kind == "csi" else _usb_frames(int(number), root)


def _usb_frames(number: int, root: Path) -> Generator[Frame, None, None]:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # what matters is told below, in one line
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        raise MissingExtraError("a USB camera", "camera") from None
    node = _usb_node(number, root)
    camera = cv2.VideoCapture(node)
    try:
        if not camera.isOpened():
            raise EdgecilError(
                f"camera {number} cannot be opened; is it plugged in, used by no other program, "
                f"and may you read /dev/video{node} (sudo adduser $USER video)?"
            )
        # Else a network slower than the camera would see older and older frames.
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        missed = 0
        while missed < _MOST_MISSED_FRAMES:
            arrived, frame = camera.read()
            missed = 0 if arrived else missed + 1
            if arrived:
                yield np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV's order is BGR
        raise EdgecilError(f"camera {number} gives no frames; plug it in again")
    finally:
        camera.release()


def _usb_node(number: int, root: Path) -> int:
    """N of the /dev/videoN of a USB camera; `number` itself where the system lists none."""
    nodes = video_nodes(root)
    if nodes is None:
        return number
    usb = [node for node in nodes if node.is_usb]
    if number >= len(usb):
        there = ", ".join(f"camera:{n} ({node.name})" for n, node in enumerate(usb)) or "none"
        raise EdgecilError(f"there is no camera:{number}; USB cameras that are plugged in: {there}")
    return usb[number].number


def _csi_frames(number: int) -> Generator[Frame, None, None]:
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        library: Any = import_module("picamera2")
    except (ImportError, ValueError) as error:  # ValueError: built for another numpy
        raise _MissingSystemPackageError(error) from None
    try:
        camera = library.Picamera2(number)
    except (IndexError, RuntimeError) as error:  # how picamera2 says that there is none, or in use
        raise EdgecilError(
            f"CSI camera {number} cannot be opened ({error}); is its cable in, and does "
            "rpicam-hello --list-cameras find it?"
        ) from None
    try:
        # picamera2 names formats by their order in a register: its BGR888 is R, G, B in memory,
        # and its RGB888 is B, G, R.
        main = {"size": CSI_SIZE_PX, "format": "BGR888"}
        camera.configure(camera.create_video_configuration(main=main))
        camera.start()
        while True:
            yield np.ascontiguousarray(camera.capture_array("main"))
    finally:
        camera.close()
