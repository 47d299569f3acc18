"""Frames of a camera, always RGB: USB through OpenCV, the ribbon cable's (CSI) through picamera2.

Both libraries are imported when a camera is asked for; neither is part of a base installation.
"""

import os
from collections.abc import Generator
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecil_devices.errors import EdgecilError, MissingExtraError, UsageError

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
    """Whether `word` means a camera: `csi`, `camera` or `camera:N`."""
    return word == "csi" or word.partition(":")[0] == "camera"


def camera_frames(word: str) -> Generator[Frame, None, None]:
    """The frames of a camera, the newest each time, until the iterator is closed.

    Args:
        word: `camera` or `camera:0` for the first USB camera, `camera:1` for the next; `csi`.

    Raises:
        UsageError: `word` is no camera.
        MissingExtraError: the library for this camera is not installed.
        EdgecilError: the camera cannot be opened, or has gone.
    """
    if word == "csi":
        return _csi_frames()
    number = word.removeprefix("camera").removeprefix(":") or "0"
    if not (number.isascii() and number.isdecimal()):
        raise UsageError(f"{word} is no camera; give camera, camera:N with a number N, or csi")
    return _usb_frames(int(number))


def _usb_frames(number: int) -> Generator[Frame, None, None]:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # what matters is told below, in one line
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        raise MissingExtraError("a USB camera", "camera") from None
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise EdgecilError(
                f"camera {number} cannot be opened; is it plugged in, used by no other program, "
                f"and may you read /dev/video{number} (sudo adduser $USER video)?"
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


def _csi_frames() -> Generator[Frame, None, None]:
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        library: Any = import_module("picamera2")
    except (ImportError, ValueError) as error:  # ValueError: built for another numpy
        raise _MissingSystemPackageError(error) from None
    try:
        camera = library.Picamera2()
    except (IndexError, RuntimeError) as error:  # how picamera2 says that there is none, or in use
        raise EdgecilError(
            f"the CSI camera cannot be opened ({error}); is its cable in, and does "
            "rpicam-hello find it?"
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
