"""Doctor's findings, with real child processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgecil_devices.doctor import software


def _doctor(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecil_devices", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_damaged_bundle_fails_and_the_device_itself_does_not(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.edgecil"
    damaged.write_bytes(b"no bundle")
    done = _doctor(damaged, "--json")
    states = {one["name"]: one["state"] for one in json.loads(done.stdout)["findings"]}
    assert (done.returncode, states["bundle"], states["onnxruntime"]) == (1, "fail", "ok")


def test_a_sound_bundle_does_not_fail(bundle_path: Path) -> None:
    done = _doctor(bundle_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2].split()[1] == "bundle"


def test_an_illegal_instruction_becomes_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ILL $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    finding = software.onnxruntime()
    assert finding.state == "fail"
    assert "SIGILL" in finding.says
    assert "pip install" in finding.says
