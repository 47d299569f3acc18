"""Cameras as the kernel shows them, and what reads them, imported in real processes."""

from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.doctor import cameras
from edgecil_devices.doctor.finding import Finding
from tests.devices.doctor.conftest import ends_by, video


def test_the_nodes_that_convert_pictures_are_no_cameras(tmp_path: Path) -> None:
    assert cameras.camera(tmp_path) == Finding("ok", "camera", "none")
    video(tmp_path, "video10", "bcm2835-codec-decode", "platform/bcm2835-codec")
    video(tmp_path, "video20", "pispbe-input", "platform/axi/1000880000.pisp_be")
    assert cameras.camera(tmp_path) == Finding("ok", "camera", "none")


def test_a_usb_camera_needs_opencv(tmp_path: Path, shadow: Any) -> None:
    node = video(tmp_path, "video0", "HD Crisp Cam", "platform/scb/usb1/1-1.2")
    video(tmp_path, "video1", "HD Crisp Cam", "platform/scb/usb1/1-1.2", index=1)
    shadow("cv2", "raise ImportError('libGL.so.1: cannot open')")
    found = cameras.camera(tmp_path)
    assert found.state == "warn"
    assert "HD Crisp Cam (camera:0) needs OpenCV (ImportError: libGL.so.1" in found.says
    assert found.says.endswith("run: pip install 'edgecil[camera]'")
    shadow("cv2", "")
    assert cameras.camera(tmp_path).says == "HD Crisp Cam (camera:0) through OpenCV"
    node.unlink()  # as good as one that may not be opened: root may open all
    found = cameras.camera(tmp_path)
    assert found.state == "warn"
    assert f"{node} may not be opened; run: sudo adduser $USER video" in found.says


@pytest.mark.parametrize("receiver", ["unicam-image", "rp1-cfe-csi2_ch0"])
def test_a_csi_camera_needs_the_systems_picamera2(
    tmp_path: Path, shadow: Any, receiver: str
) -> None:
    video(tmp_path, "video0", receiver, "platform/axi/csi")
    shadow("picamera2", ends_by("SIGSEGV"))
    found = cameras.camera(tmp_path)
    assert found.state == "warn"
    assert "picamera2 (SIGSEGV); run: sudo apt install python3-picamera2" in found.says
    shadow("picamera2", "")
    assert cameras.camera(tmp_path) == Finding("ok", "camera", "csi:0 through picamera2")


def test_every_camera_has_the_word_beside_it_that_means_it(tmp_path: Path, shadow: Any) -> None:
    for first, name in ((2, "Crisp"), (10, "Dim")):
        for index in (0, 1):
            bus = f"platform/scb/usb1/1-{first}"
            video(tmp_path, f"video{first + index}", name, bus, index)
    for node, receiver in (("video0", "csi0"), ("video20", "csi1")):
        video(tmp_path, node, "rp1-cfe-csi2_ch0", f"platform/axi/{receiver}")
    for module in ("cv2", "picamera2"):
        shadow(module, "")
    assert cameras.camera(tmp_path).says == (
        "Crisp (camera:0), Dim (camera:1) through OpenCV, csi:0, csi:1 through picamera2"
    )
