"""Findings about a machine made of files."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgecil_devices import limits
from edgecil_devices.doctor import machine
from edgecil_devices.doctor.finding import Finding
from tests.devices.doctor.conftest import BOARD, write

NO_ROOM = "stop other programs"


@pytest.mark.parametrize(
    ("cpuinfo", "says"),
    [
        ("CPU part\t: 0xd03\nFeatures\t: fp asimd crc32\n", r"Cortex-A53, \d+ cores, asimd"),
        (
            "CPU part\t: 0xd0b\nFeatures\t: asimd asimddp\n",
            r"Cortex-A76, \d+ cores, asimd, asimddp",
        ),
        ("CPU part\t: 0xd4f\n", r"ARM part 0xd4f, \d+ cores"),
        ("model name\t: A chip\nflags\t\t: avx avx2\n", r"A chip, \d+ cores, avx2"),
        ("", r"unknown, \d+ cores"),
    ],
)
def test_the_processor_is_named_with_what_bears_on_speed(
    tmp_path: Path, cpuinfo: str, says: str
) -> None:
    found = machine.processor(write(tmp_path, proc__cpuinfo=cpuinfo))
    assert found.state == "ok"
    assert re.fullmatch(says, found.says)


def meminfo(free_mb: int) -> dict[str, str]:
    return {"proc__meminfo": f"MemTotal: 9 kB\nMemAvailable:   {free_mb * 1_000_000 // 1024} kB\n"}


@pytest.mark.parametrize(
    ("free_mb", "state", "says"),
    [(100, "warn", NO_ROOM), (300, "warn", "take 400 MB; stop other"), (401, "ok", "MB free, ")],
)
def test_free_memory_is_held_against_what_the_profile_takes(
    tmp_path: Path, free_mb: int, state: str, says: str
) -> None:
    found = machine.memory(BOARD, write(tmp_path, **meminfo(free_mb)))
    assert found.state == state
    assert says in found.says
    assert abs(int(found.says.split()[0]) - free_mb) <= 1


def test_a_device_that_tells_nothing_of_its_memory_is_warned_of(tmp_path: Path) -> None:
    assert machine.memory(BOARD, tmp_path).state == "warn"


def in_group(root: Path, **files: str) -> Path:
    """This process in the group /system/edgecil, with limits as cgroup v2 writes them."""
    write(root, **meminfo(4000), proc__self__cgroup="1:name=systemd:/x\n0::/system/edgecil\n")
    return write(root / "sys/fs/cgroup", **files)


def test_a_limit_of_memory_around_this_process_counts(tmp_path: Path) -> None:
    system = {"max": "300000000\n", "current": "140000000\n"}
    system["stat"] = "anon 100000000\ninactive_file 40000000\nactive_file 7\n"
    edgecil = {"max": "max\n", "current": "7\n", "stat": "inactive_file 0\n"}
    in_group(
        tmp_path,
        **{f"system__memory.{of}": content for of, content in system.items()},
        **{f"system__edgecil__memory.{of}": content for of, content in edgecil.items()},
    )
    found = machine.memory(BOARD, tmp_path)
    assert (found.state, found.says.split()[0]) == ("warn", "200")


@pytest.mark.parametrize(
    ("cpu_max", "state", "says"),
    [
        ("max 100000", "ok", "4 at once on the 8 of"),
        ("400000 100000", "ok", "4 at once"),
        ("250000 100000", "warn", "2 at once on the 8 of"),
        ("250000 100000", "warn", "the time of 2.5; give it more"),
        ("50000 100000", "warn", "1 at once on the 8 of"),
        ("50000 100000", "warn", "the time of 0.5; give it more"),
    ],
)
def test_a_quota_below_the_threads_is_warned_of(
    tmp_path: Path, cpu_max: str, state: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "available_cores", lambda: 8)
    in_group(tmp_path, **{"system__cpu.max": f"{cpu_max}\n"})
    found = machine.threads(BOARD, tmp_path)
    assert found.state == state
    assert says in found.says


def test_space_is_that_of_the_disk_where_the_path_would_be(tmp_path: Path) -> None:
    found = machine.space(tmp_path / "not" / "yet")
    assert found.says.endswith(f" at {tmp_path}")


def test_a_clock_that_was_never_set_is_warned_of(tmp_path: Path) -> None:
    started, today = datetime(1970, 1, 1, tzinfo=UTC), datetime(2027, 5, 4, tzinfo=UTC)
    assert "1970-01-01 cannot be" in machine.clock(started, tmp_path).says
    assert machine.clock(today, tmp_path) == Finding("ok", "clock", "2027-05-04")
    keeper = tmp_path / "run/systemd/timesync"
    keeper.mkdir(parents=True)
    waiting = machine.clock(today, tmp_path)
    assert waiting.state == "warn"
    assert "sudo timedatectl set-ntp true" in waiting.says
    (keeper / "synchronized").touch()
    assert machine.clock(today, tmp_path).state == "ok"
