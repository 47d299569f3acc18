"""How many cores and how much memory this process may use.

A machine has them, and a service or a container leaves a part of them to this process: its control
groups, version 2. Linux has these as folders; a limit of one holds for all groups within. `root` is
where `proc` and `sys` lie.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """How many processes or threads can compute at once here, at least one."""
    allowed = cores(root)
    return available_cores() if allowed is None else max(1, min(available_cores(), int(allowed)))


def available_cores() -> int:
    """Cores that this process may run on, whatever part of their time it gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_bytes(root: Path = ROOT) -> int | None:
    """How much memory this process may still take, cached files counted as free.

    None where the system does not say.
    """
    with suppress(OSError):
        told = (root / "proc/meminfo").read_text(errors="replace")
        if found := re.search(r"^MemAvailable:\s+(\d+) kB", told, re.MULTILINE):
            of_machine, of_groups = int(found[1]) * 1024, free_bytes(root)
            return of_machine if of_groups is None else min(of_machine, of_groups)
    return None


def cores(root: Path) -> float | None:
    """How many cores' time this process gets; None if nothing limits it."""
    shares = []
    for group in _groups(root):
        with suppress(OSError, ValueError):  # the file is missing, or says "max 100000"
            most_us, period_us = map(int, (group / "cpu.max").read_text().split())
            shares.append(most_us / period_us)
    return min(shares, default=None)


def free_bytes(root: Path) -> int | None:
    """How much more memory this process's groups may take; None if nothing limits them."""
    free = []
    for group in _groups(root):
        with suppress(OSError, ValueError):
            most, taken = (int((group / f"memory.{of}").read_text()) for of in ("max", "current"))
            cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
            # Files that were read count too, until somebody needs their place.
            free.append(max(0, most - taken + int(cached[1] if cached else 0)))
    return min(free, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """This process's group, and those that it lies in."""
    folder = root / "sys/fs/cgroup"
    with suppress(OSError):
        if found := re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.MULTILINE):
            group = folder / found[1]
            yield from (group, *(above for above in group.parents if above.is_relative_to(folder)))
