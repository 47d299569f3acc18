"""Findings about the system and the board: what it is, and what of it may be used.

`root` is where `proc`, `sys` and `run` lie; what is not there is not known, and no fault.
"""

import os
import platform
import re
import shutil
import struct
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from edgecil_devices import limits
from edgecil_devices.doctor.finding import Finding
from edgecil_devices.profiles import Profile, board_model

CORES = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}
"""ARM's part numbers in /proc/cpuinfo: Raspberry Pi 3 and Zero 2, 4, and 5."""

ROOT = Path("/")

_TELLING = ("asimd", "asimddp", "asimdhp", "avx2", "avx_vnni", "avx512_vnni")
_LEAST_MEMORY_MB = 150
_LEAST_SPACE_MB = 200
_WRITTEN = date(2026, 11, 1)
"""No clock that is right shows a day before these lines were written."""


def system() -> Finding:
    """Whether programs have 64 bits; onnxruntime has no others."""
    bits, told = struct.calcsize("P") * 8, f"{platform.system()} {platform.machine()}"
    if bits == 64:
        return Finding("ok", "system", f"{told}, 64 bits")
    return Finding("fail", "system", f"{told}, {bits} bits; install a 64-bit operating system")


def board(profile: Profile) -> Finding:
    """Which board this is, and what is taken to suit it."""
    return Finding("ok", "board", f"{board_model() or 'no name'}, profile {profile.name}")


def processor(root: Path = ROOT) -> Finding:
    """The processor, and those of its features that make networks faster."""
    text = _text(root / "proc/cpuinfo")
    parts = re.findall(r"^CPU part\s*: (\S+)", text, re.MULTILINE)
    models = re.findall(r"^model name\s*: (.+)", text, re.MULTILINE)
    listed = re.search(r"^(?:Features|flags)\s*: (.+)", text, re.MULTILINE)
    features = [word for word in _TELLING if listed and word in listed[1].split()]
    core = CORES.get(parts[0], f"ARM part {parts[0]}") if parts else (models or ["unknown"])[0]
    return Finding("ok", "processor", ", ".join((core, f"{os.cpu_count()} cores", *features)))


def threads(profile: Profile, root: Path = ROOT) -> Finding:
    """How many threads compute at once, and whether the cores for them may be used."""
    available = limits.available_cores()
    count = min(limits.usable_cores(root), profile.threads)
    told = f"{count} at once on the {available} of {os.cpu_count()} cores that may be used"
    allowed = limits.cores(root)
    if allowed is not None and allowed < min(available, profile.threads):
        return Finding(
            "warn",
            "threads",
            f"{told}, as this service or container gets the time of {allowed:.1f}; give it more",
        )
    return Finding("ok", "threads", told)


def memory(profile: Profile, root: Path = ROOT) -> Finding:
    """Whether the free memory holds a network, and the largest picture that is decoded here."""
    page = f"pages of {os.sysconf('SC_PAGE_SIZE') // 1024} kB"
    free_bytes = limits.available_bytes(root)
    if free_bytes is None:
        return Finding("warn", "memory", f"unknown, {page}; use a newer kernel")
    free_mb = free_bytes // 1_000_000
    told = f"{free_mb} MB free, {page}"
    if free_mb < _LEAST_MEMORY_MB:
        return Finding("warn", "memory", f"{told}; stop other programs")
    if free_mb < profile.memory_limit_mb:
        return Finding(
            "warn",
            "memory",
            f"{told}, and pictures of {profile.most_pixels / 1e6:.0f} megapixels take "
            f"{profile.memory_limit_mb} MB; stop other programs, or use smaller pictures",
        )
    return Finding("ok", "memory", told)


def space(path: Path) -> Finding:
    """Whether there is room for an update where the bundles are, or would be."""
    # Not Path.exists, which raises where one may not look.
    path = next(one for one in (path, *path.absolute().parents) if os.path.exists(one))
    free_mb = shutil.disk_usage(path).free // 1_000_000
    if free_mb < _LEAST_SPACE_MB:
        return Finding("warn", "space", f"{free_mb} MB free at {path}; make room")
    return Finding("ok", "space", f"{free_mb} MB free at {path}")


def clock(now: datetime | None = None, root: Path = ROOT) -> Finding:
    """Whether the date can be right: by a wrong one, signed releases are too old or never."""
    today = (now or datetime.now(UTC)).date()
    remedy = "connect a network and run: sudo timedatectl set-ntp true"
    if today < _WRITTEN:
        return Finding("warn", "clock", f"{today} cannot be, and hides what has expired; {remedy}")
    keeper = root / "run/systemd/timesync"  # there if systemd keeps the time
    if keeper.is_dir() and not (keeper / "synchronized").exists():
        return Finding("warn", "clock", f"{today}, but not set by a network yet; {remedy}")
    return Finding("ok", "clock", str(today))


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(errors="replace")
    return ""
