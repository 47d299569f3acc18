"""Cameras, played by modules that behave as OpenCV and picamera2 do. Red must stay red."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecil_devices.camera import camera_frames, is_camera
from edgecil_devices.errors import EdgecilError, MissingExtraError, UsageError
from tests.devices.doctor.conftest import video

RED = (200, 30, 10)


def scene(order: str) -> Any:
    """A red wall, (480, 640, 3), with its channels in the order of the letters."""
    colour = dict(zip("RGB", RED, strict=True))
    return np.tile(np.array([colour[c] for c in order], np.uint8), (480, 640, 1))


class FakeOpenCV:
    """`read` gives B, G, R; a camera that is pulled out gives (False, None) for ever."""

    CAP_PROP_BUFFERSIZE = 38

    def __init__(self, cameras: int = 1, frames: int = 1000) -> None:
        self.cameras, self.frames = cameras, frames
        self.log: list[Any] = []

    def VideoCapture(self, number: int) -> Any:  # noqa: N802
        self.log.append(("open", number))
        return SimpleNamespace(
            isOpened=lambda: number < self.cameras,
            set=lambda key, value: self.log.append((key, value)),
            read=self.read,
            release=lambda: self.log.append("release"),
        )

    def read(self) -> tuple[bool, Any]:
        self.frames -= 1
        return (True, scene("BGR")) if self.frames >= 0 else (False, None)


class FakePicamera2:
    """Names formats as the real one does: "RGB888" is B, G, R in memory and "BGR888" R, G, B."""

    ORDER = {"BGR888": "RGB", "RGB888": "BGR"}

    def __init__(self) -> None:
        self.log: list[str] = []

    def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
        return main

    def configure(self, main: dict[str, Any]) -> None:
        assert main["size"] == (640, 480)
        self.order = self.ORDER[main["format"]]

    def start(self) -> None:
        self.log.append("start")

    def capture_array(self, name: str) -> Any:
        assert (name, self.log) == ("main", ["start"])
        return scene(self.order)

    def close(self) -> None:
        self.log.append("close")


def test_a_usb_camera_gives_rgb_and_is_released(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cv2 = FakeOpenCV(cameras=3)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    frames = camera_frames("camera:2", tmp_path)  # where the system lists no devices
    for _ in range(2):
        frame = next(frames)
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
        assert tuple(frame[0, 0]) == RED
    frames.close()
    assert cv2.log == [("open", 2), (cv2.CAP_PROP_BUFFERSIZE, 1), "release"]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A Raspberry Pi 5 with two ribbon cameras, and two USB cameras of two nodes each."""
    for first, name, bus in ((8, "Crisp", "usb1/1-1"), (10, "Dim", "usb3/3-2")):
        for index in (0, 1):
            video(tmp_path, f"video{first + index}", name, f"platform/axi/{bus}", index)
    for first, cfe in ((0, "1f00110000.csi"), (4, "1f00128000.csi")):
        for index in range(4):
            name = f"rp1-cfe-csi2_ch{index}"
            video(tmp_path, f"video{first + index}", name, f"platform/axi/{cfe}", index)
    return tmp_path


@pytest.mark.parametrize(("word", "node"), [("camera", 8), ("camera:0", 8), ("camera:1", 10)])
def test_usb_cameras_are_counted_without_ribbon_cameras_and_second_nodes(
    monkeypatch: pytest.MonkeyPatch, board: Path, word: str, node: int
) -> None:
    cv2 = FakeOpenCV(cameras=20)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    frames = camera_frames(word, board)
    next(frames)
    frames.close()
    assert cv2.log[0] == ("open", node)


def test_a_usb_camera_that_is_not_plugged_in_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, board: Path, tmp_path: Path
) -> None:
    cv2 = FakeOpenCV(cameras=20)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    with pytest.raises(EdgecilError) as caught:
        next(camera_frames("camera:2", board))
    assert str(caught.value) == (
        "there is no camera:2; USB cameras that are plugged in: camera:0 (Crisp), camera:1 (Dim)"
    )
    video(tmp_path / "bare", "video10", "bcm2835-codec-decode", "platform/bcm2835-codec")
    with pytest.raises(EdgecilError, match="no camera:0; USB cameras that are plugged in: none$"):
        next(camera_frames("camera", tmp_path / "bare"))
    assert cv2.log == []


@pytest.mark.parametrize(("word", "number"), [("csi", 0), ("csi:0", 0), ("csi:1", 1)])
def test_a_csi_camera_gives_rgb_and_is_closed(
    monkeypatch: pytest.MonkeyPatch, word: str, number: int
) -> None:
    cameras = {number: FakePicamera2()}
    library = SimpleNamespace(Picamera2=cameras.__getitem__)
    monkeypatch.setitem(sys.modules, "picamera2", library)
    frames = camera_frames(word)
    assert tuple(next(frames)[5, 7]) == RED
    frames.close()
    assert cameras[number].log == ["start", "close"]


def test_a_camera_that_is_not_there_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cv2 = FakeOpenCV(cameras=1)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    with pytest.raises(EdgecilError, match=r"^camera 1 cannot be opened; .*/dev/video1"):
        next(camera_frames("camera:1", tmp_path))
    assert cv2.log[-1] == "release"


def test_a_csi_camera_that_is_not_there_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int) -> None:
        raise IndexError("list index out of range")  # what picamera2 says without a camera

    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=missing))
    with pytest.raises(EdgecilError, match="CSI camera 1 cannot be opened .* is its cable in"):
        next(camera_frames("csi:1"))


def test_a_camera_that_is_pulled_out_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", FakeOpenCV(frames=2))
    frames = camera_frames("camera", tmp_path)
    next(frames)
    next(frames)
    with pytest.raises(EdgecilError, match="camera 0 gives no frames; plug it in again"):
        next(frames)


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgecil\[camera\]'"):
        next(camera_frames("camera"))


def test_without_picamera2_the_system_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(MissingExtraError) as caught:
        next(camera_frames("csi"))
    assert "sudo apt install python3-picamera2" in str(caught.value)
    assert "--system-site-packages" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "word", ["camera:", "camera", "camera:0", "camera:12", "csi", "csi:1", "camera:x"]
)
def test_words_that_mean_a_camera(word: str) -> None:
    assert is_camera(word)


@pytest.mark.parametrize("word", ["camera.jpg", "./camera", "cameras", "csi.png", "Camera"])
def test_words_that_mean_none(word: str) -> None:
    assert not is_camera(word)


@pytest.mark.parametrize("word", ["camera:x", "camera:-1", "camera:²", "camera:0:1", "csi:x"])
def test_a_camera_without_a_number_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is no camera; give camera or csi, or one with a number"):
        camera_frames(word)
