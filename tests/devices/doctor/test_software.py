"""What becomes of an onnxruntime that is missing, or that the processor cannot run."""

from typing import Any

import pytest

from edgecil_devices.doctor import software
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.floors import OLDEST_ONNXRUNTIME
from tests.devices.doctor.conftest import ends_by


@pytest.mark.parametrize(
    ("signal", "word"),
    [("SIGILL", "an illegal instruction"), ("SIGSEGV", "a segmentation fault"), ("SIGBUS", "")],
)
def test_an_onnxruntime_that_ends_the_process_becomes_a_sentence(
    shadow: Any, signal: str, word: str
) -> None:
    shadow("onnxruntime", ends_by(signal))
    found = software.onnxruntime()
    assert found.state == "fail"
    assert signal in found.says
    assert word in found.says
    assert found.says.endswith(f"run: pip install --upgrade 'onnxruntime>={OLDEST_ONNXRUNTIME}'")


def test_no_onnxruntime_is_told_with_the_remedy(shadow: Any) -> None:
    shadow("onnxruntime", "raise ModuleNotFoundError('No module named onnxruntime')")
    assert software.onnxruntime().says == (
        "ModuleNotFoundError: No module named onnxruntime; "
        f"run: pip install --upgrade 'onnxruntime>={OLDEST_ONNXRUNTIME}'"
    )


def test_an_onnxruntime_that_pip_would_refuse_is_not_fine(
    shadow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # written anew within the same second
    for version, state in (("1.23.2", "fail"), ("1.9.0", "fail"), ("1.24.4", "ok"), ("2.0", "ok")):
        shadow("onnxruntime", f"__version__ = {version!r}")
        assert software.onnxruntime().state == state
    shadow("onnxruntime", "__version__ = '1.23.2'")
    assert software.onnxruntime().says == (
        "1.23.2 can be made to read foreign files; "
        f"run: pip install --upgrade 'onnxruntime>={OLDEST_ONNXRUNTIME}'"
    )


def test_telemetry_that_somebody_wants_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert software.telemetry() == Finding("ok", "telemetry", "off")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert software.telemetry().state == "warn"
    assert "unset ORT_DISABLE_TELEMETRY" in software.telemetry().says
