"""What a board says of its state, from files like those of a Raspberry Pi's kernel."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgecil_devices.board import BoardState, Throttling, board_state, peak_memory_mb

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def write(root: Path, **texts: str) -> None:
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_a_raspberry_pi_under_load(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
    files = {
        "sys/class/thermal/thermal_zone0/temp": "51121\n",
        "sys/class/thermal/thermal_zone1/temp": "81295\n",
        cpu.format(0, "scaling_cur_freq"): "600000\n",
        cpu.format(1, "scaling_cur_freq"): "1500398\n",
        cpu.format(0, "scaling_governor"): "ondemand\n",
        cpu.format(1, "scaling_governor"): "ondemand\n",
        FIRMWARE: "50005\n",
    }
    write(tmp_path, **files)
    throttling = Throttling(("under-voltage", "throttled"), ("under-voltage", "throttled"))
    assert board_state(tmp_path) == BoardState(81.295, 1500, "ondemand", throttling)


@pytest.mark.parametrize(
    ("bits", "now", "has_happened"),
    [
        (0x0, (), ()),
        (0x2, ("frequency capped",), ()),
        (0x80000, (), ("soft temperature limit",)),
        (
            0xE0008,
            ("soft temperature limit",),
            ("frequency capped", "throttled", "soft temperature limit"),
        ),
        (0x100010, (), ()),  # bits without a meaning
    ],
)
def test_throttling_in_words(
    bits: int, now: tuple[str, ...], has_happened: tuple[str, ...]
) -> None:
    assert Throttling.of_bits(bits) == Throttling(now, has_happened)


def test_what_a_machine_does_not_tell_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert board_state(tmp_path) == BoardState(None, None, None, None)
    write(tmp_path, **{FIRMWARE: "gibberish", "sys/class/thermal/thermal_zone0/temp": ""})
    (tmp_path / "sys/class/thermal/thermal_zone1/temp").mkdir(parents=True)  # cannot be read
    assert board_state(tmp_path) == BoardState(None, None, None, None)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("echo throttled=0x20000", Throttling((), ("frequency capped",))),
        ("echo VCHI initialization failed; exit 255", None),
        ("kill -9 $$", None),
    ],
)
def test_the_firmwares_tool_tells_where_the_kernel_does_not(
    told: str, expected: Throttling | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && {told}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert board_state(tmp_path).throttling == expected


def test_the_peak_is_this_processs_own() -> None:
    script = (
        "from edgecil_devices.board import peak_memory_mb\n"
        "before = peak_memory_mb()\n"
        "taken = b'x' * 50_000_000\n"
        "del taken\n"
        "print(before, peak_memory_mb())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    before, after = map(float, done.stdout.split())
    assert before < 40  # and not the peak of pytest, which started it
    assert after - before == pytest.approx(50, abs=5)


def test_the_peak_is_in_units_of_a_million_bytes(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmPeak:\t  999999 kB\nVmHWM:\t  125000 kB\n")
    assert peak_memory_mb(tmp_path / "status") == pytest.approx(128)  # the kernel's kB are 1024


def test_no_peak_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert peak_memory_mb(tmp_path / "status") is None
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert peak_memory_mb(tmp_path / "status") is None
