"""`devices/install.sh`, run for real: what it installs, and what it leaves alone."""

import os
import re
import shutil
import signal
import subprocess
import time
import zipfile
from copy import copy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.devices.installing.conftest import Device

pytestmark = pytest.mark.slow

VERSION = version("edgecil")


@dataclass(frozen=True)
class Installed:
    """What two runs of the script came to, of which the first was killed."""

    folder: Path
    left_over: Path
    """Of the first."""
    second: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def installed(device: "Device", wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("device") / "in here" / "edgecil"
    words = "--from", wheel, "--target", folder
    with device.started(*words) as process:
        deadline = time.monotonic() + 300
        while not (begun := list(folder.glob("lib/python3.*/site-packages/pip"))):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    assert (folder / ".edgecil-install").read_text() == "changing\n"
    left_over = begun[0] / "left-over"
    left_over.touch()
    second = device.install(*words)
    assert second.returncode == 0, second.stderr
    return Installed(folder, left_over, second)


def files_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of all that is installed there; compiled modules come with use."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != ".edgecil-install"
    }


def renamed(wheel: Path, folder: Path, version: str) -> Path:
    """The same wheel under another version."""
    names = f"edgecil-{VERSION}", f"edgecil-{version}"
    path = folder / wheel.name.replace(*names)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(("METADATA", "RECORD")):
                data = data.replace(f"Version: {VERSION}".encode(), f"Version: {version}".encode())
                data = data.replace(names[0].encode(), names[1].encode())
            new.writestr(name.replace(*names), data)
    return path


def rebuilt(wheel: Path, folder: Path) -> Path:
    """A wheel of the same name and version, whose summary is another."""
    path = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("METADATA"):
                data = re.sub(rb"\nSummary: .*", b"\nSummary: built anew", data)
            new.writestr(name, data)
    return path


def test_a_run_that_was_cut_short_is_made_good_by_the_next(
    device: "Device", installed: Installed
) -> None:
    assert re.match(r"edgecil \d", device.says(installed.folder, "--version"))
    assert not installed.left_over.exists()


def test_after_it_pictures_can_be_classified(
    device: "Device", installed: Installed, bundle_path: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "picture.png")
    said = device.says(
        installed.folder, "predict", bundle_path, tmp_path / "picture.png", "--top", 1
    )
    assert re.match(r".*picture\.png +(ape|bee|cat) ", said)


def test_it_says_sizes_what_doctor_found_and_what_to_do_next(installed: Installed) -> None:
    folder, done = installed.folder, installed.second
    (size_mb,) = re.findall(rf"^{re.escape(str(folder))} takes (\d+) MB", done.stderr, re.M)
    on_disk = sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])
    assert int(size_mb) == pytest.approx(on_disk / 1e6, abs=2)
    assert re.search(r"^ok +onnxruntime +\d+\.\d+", done.stdout, re.M)
    assert done.stderr.endswith(f"\nnext: {folder}/bin/edgecil predict BUNDLE PICTURE.jpg\n")


def test_the_systems_packages_stay_in_use_so_that_the_camera_keeps_working(
    installed: Installed,
) -> None:
    folder = installed.folder
    assert "include-system-site-packages = true" in (folder / "pyvenv.cfg").read_text()
    packages = {path.name for path in folder.glob("lib/python3.*/site-packages/*")}
    assert "edgecil_devices" in packages
    assert "numpy" not in packages


def test_a_second_run_changes_nothing_and_the_newest_wheel_beside_the_script_only_edgecil(
    device: "Device", installed: Installed, wheel: Path, tmp_path: Path
) -> None:
    folder = installed.folder
    before = files_in(folder)
    assert device.install("--from", wheel, "--target", folder).returncode == 0
    assert files_in(folder) == before

    for newer in ("9.9", "9.10", "9.2"):
        renamed(wheel, tmp_path, newer)
    copied = copy(device)
    copied.script = Path(shutil.copy(device.script, tmp_path))
    done = copied.install("--target", folder)
    assert done.returncode == 0, done.stderr
    assert device.says(folder, "--version").split() == ["edgecil", "9.10"]
    after = files_in(folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed
    assert all("edgecil" in str(path.relative_to(folder)) for path in changed)


def test_a_wheel_that_was_built_anew_replaces_the_one_of_its_version(
    device: "Device", installed: Installed, wheel: Path, tmp_path: Path
) -> None:
    folder = installed.folder
    assert device.install("--from", wheel, "--target", folder).returncode == 0
    assert device.install("--from", rebuilt(wheel, tmp_path), "--target", folder).returncode == 0
    (metadata,) = folder.glob("lib/python3.*/site-packages/edgecil-*.dist-info/METADATA")
    assert "\nSummary: built anew\n" in metadata.read_text()
    assert device.says(folder, "--version").split() == ["edgecil", VERSION]


def test_without_a_network_it_says_so_and_what_was_there_stays(
    device: "Device", installed: Installed
) -> None:
    folder = installed.folder
    before = files_in(folder)
    nowhere = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    done = device.install("--from", "edgecil==99", "--target", folder, **nowhere)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert "connect the device and run this again" in last
    assert files_in(folder) == before
    assert (folder / ".edgecil-install").read_text() == "complete\n"


def test_uninstalling_deletes_the_environment_and_nothing_else(
    device: "Device", installed: Installed, tmp_path: Path
) -> None:
    folder, beside = tmp_path / "edgecil", tmp_path / "beside"
    shutil.copytree(installed.folder, folder, symlinks=True)
    (folder / "link").symlink_to(beside)
    beside.mkdir()
    (beside / "picture.jpg").touch()
    (tmp_path / "disk").mkdir()
    folder.rename(tmp_path / "disk" / "edgecil")
    folder.symlink_to(tmp_path / "disk" / "edgecil")  # as on another disk
    assert device.install("--uninstall", "--target", folder).returncode == 0
    assert not folder.is_symlink()
    assert list((tmp_path / "disk" / "edgecil").iterdir()) == []
    assert (beside / "picture.jpg").exists()


def test_an_environment_of_the_python_before_an_upgrade_of_the_system_is_made_anew(
    device: "Device", installed: Installed, wheel: Path
) -> None:
    """The system's pip answers in it, where the system has one."""
    folder = installed.folder
    assert device.install("--from", wheel, "--target", folder).returncode == 0
    (own,) = (folder / "lib").iterdir()
    own.rename(folder / "lib" / "python3.10")
    pip = folder / "bin" / "pip"
    pip.write_text('#!/bin/sh\n[ "$1" = --version ]\n')
    done = device.install("--from", wheel, "--target", folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (folder / "lib").iterdir()] == [own.name]
    assert device.says(folder, "--version").split() == ["edgecil", VERSION]
