"""What a board tells of its own state: temperature, throttling, frequency.

Nothing here fails: what a board, a container or a virtual machine does not tell is None.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STATES = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""What bits 0 to 3 of a Raspberry Pi's `get_throttled` mean now, and bits 16 to 19 of the time
before; raspberrypi.com/documentation/computers/os.html#get_throttled."""

_BEFORE = 16
_THROTTLED_FILES = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
_VCGENCMD_TIMEOUT_S = 5


@dataclass(frozen=True)
class Throttling:
    """Why a Raspberry Pi is slower than it could be, in the words of `STATES`."""

    now: tuple[str, ...]
    """What holds now."""
    has_happened: tuple[str, ...]
    """What held at some time, as a rule since the board was started."""

    @classmethod
    def of_bits(cls, bits: int) -> "Throttling":
        """What the bits of `get_throttled` mean."""

        def states_from(first: int) -> tuple[str, ...]:
            return tuple(word for bit, word in enumerate(STATES, first) if bits >> bit & 1)

        return cls(states_from(0), states_from(_BEFORE))


@dataclass(frozen=True)
class BoardState:
    """What a board told at one moment."""

    temperature_c: float | None
    """Degrees Celsius of the hottest sensor."""
    frequency_mhz: int | None
    """Of the fastest core."""
    governor: str | None
    """What sets the frequency: "ondemand", "performance"; several are joined by commas."""
    throttling: Throttling | None
    """None on anything but a Raspberry Pi."""


def board_state(root: Path = Path("/")) -> BoardState:
    """Ask the board.

    Args:
        root: where `sys` lies.
    """
    temperatures = _numbers(root, "sys/class/thermal/thermal_zone*/temp")  # thousandths of a degree
    frequencies = _numbers(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")  # kHz
    governors = set(_texts(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"))
    return BoardState(
        max((number / 1000 for number in temperatures), default=None),
        max((number // 1000 for number in frequencies), default=None),
        ", ".join(sorted(governors)) or None,
        _throttling(root),
    )


def peak_memory_mb(status: Path = Path("/proc/self/status")) -> float | None:
    """The most memory, in 10^6 bytes, that this process has had at once.

    Not `ru_maxrss` of the resource module: the peak of the process that started this one lives on
    in it.
    """
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE):
            return int(found[1]) * 1024 / 1e6
    return None


def _throttling(root: Path) -> Throttling | None:
    """From the kernel, or from the firmware's own tool where the kernel does not tell."""
    for text in _texts(root, _THROTTLED_FILES):
        with suppress(ValueError):
            return Throttling.of_bits(int(text, 16))
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            [tool, "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_TIMEOUT_S
        ).stdout
        if found := re.fullmatch(r"throttled=0x([0-9a-fA-F]+)\s*", told):
            return Throttling.of_bits(int(found[1], 16))
    return None


def _numbers(root: Path, pattern: str) -> Iterator[int]:
    for text in _texts(root, pattern):
        with suppress(ValueError):
            yield int(text)


def _texts(root: Path, pattern: str) -> Iterator[str]:
    for file in sorted(root.glob(pattern)):
        with suppress(OSError):  # a sensor that is switched off, for one
            yield file.read_text(errors="replace").strip()
