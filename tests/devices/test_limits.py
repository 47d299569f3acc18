"""What is left to this process of a machine made of files."""

from pathlib import Path

import pytest

from edgecil_devices import limits
from tests.devices.doctor.conftest import write


@pytest.mark.parametrize(("group_max", "left_bytes"), [("max", 4096_000), ("3000000", 2_700_000)])
def test_memory_is_what_can_be_freed_within_the_limits_of_groups(
    tmp_path: Path, group_max: str, left_bytes: int
) -> None:
    told = "MemTotal: 9000 kB\nMemFree:  7 kB\nMemAvailable:   4000 kB\n"
    write(tmp_path, proc__meminfo=told, proc__self__cgroup="0::/edgecil\n")
    group = {"max": group_max, "current": "500000", "stat": "anon 3\ninactive_file 200000\n"}
    files = {f"edgecil__memory.{of}": f"{content}\n" for of, content in group.items()}
    write(tmp_path / "sys/fs/cgroup", **files)
    assert limits.available_bytes(tmp_path) == left_bytes


def test_a_system_that_tells_nothing_of_its_memory_has_none_that_is_known(tmp_path: Path) -> None:
    assert limits.available_bytes(tmp_path) is None
    write(tmp_path, proc__meminfo="MemTotal: 9000 kB\nMemFree:  7 kB\n")  # before Linux 3.14
    assert limits.available_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_cores_are_those_of_the_machine_within_the_quota_of_groups(
    tmp_path: Path, cpu_max: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "available_cores", lambda: 8)
    assert limits.usable_cores(tmp_path) == 8
    write(tmp_path, proc__self__cgroup="0::/edgecil\n")
    write(tmp_path / "sys/fs/cgroup", **{"edgecil__cpu.max": f"{cpu_max}\n"})
    assert limits.usable_cores(tmp_path) == cores
