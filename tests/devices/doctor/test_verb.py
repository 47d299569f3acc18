"""The verb: every finding, as the command line tells it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def doctor(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecil_devices", "doctor", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | environment
    )


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in json.loads(done.stdout)["findings"]}


def test_a_sound_bundle_passes_and_every_finding_is_one_line(bundle_path: Path) -> None:
    done = doctor(bundle_path)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == [
        *("system", "board", "processor", "threads", "memory", "space", "clock"),
        *("python", "telemetry", "onnxruntime", "camera", "bundle", "precision"),
    ]
    assert all(line.startswith(("ok  ", "warn")) for line in lines)


def test_a_damaged_bundle_fails_and_the_device_itself_does_not(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.edgecil"
    damaged.write_bytes(b"no bundle")
    done = doctor(damaged, "--json")
    found = states(done)
    assert (done.returncode, found["bundle"], found["onnxruntime"]) == (1, "fail", "ok")
    assert "precision" not in found


def test_a_board_that_nobody_knows_fails_and_the_rest_goes_on() -> None:
    done = doctor("--json", EDGECIL_PROFILE="pi5")
    assert done.returncode == 1
    assert [name for name, state in states(done).items() if state == "fail"] == ["board"]
    assert "must be one of generic, raspberry-pi-3" in done.stdout


def test_doctor_itself_needs_no_package() -> None:
    code = "import sys, edgecil_devices.doctor.verb; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "PIL", "onnxruntime"} & set(done.stdout.split())


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 10, 14)])
def test_a_python_that_is_too_old_is_told_so(version: tuple[int, ...]) -> None:
    code = f"""
import runpy, sys
sys.version_info, sys.version = {version}, "{".".join(map(str, version))} (old)"
runpy.run_module("edgecil_devices", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: Python 3.{version[1]}.{version[2]} is too old; use 3.11")
    assert len(done.stderr.splitlines()) == 1
