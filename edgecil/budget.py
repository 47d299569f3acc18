"""Byte budgets: what "7.6MB" means, and which part of a state owns which byte of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edgecil.errors import BudgetError
from edgecil_devices.sizes import UNIT_BYTES as UNIT_BYTES
from edgecil_devices.sizes import parse_bytes as parse_bytes

BYTES_PER_MIB = UNIT_BYTES["MiB"]
"""Of budgets in tables."""

OWNERS = ("trunk", "blocks", "head", "exemplars", "statistics", "names", "other")
"""Who can own bytes of a state, in the order in which they are shown."""

_SELDOM = {"statistics", "other"}
"""Owners that are not shown where they own nothing."""

_OWNER_OF_FILE = {
    "trunk.safetensors": "trunk",
    "head.safetensors": "head",
    "exemplars.safetensors": "exemplars",
    "statistics.safetensors": "statistics",
    "state.json": "names",
}
_BLOCK_FILE = re.compile(r"block-\d{2,}\.safetensors")


class ByteBudget(int):
    """A number of bytes that is written as it was read: `ByteBudget("7.6MB") == 7_600_000`.

    Raises:
        UsageError: as of `parse_bytes`.
    """

    def __new__(cls, size: str | int) -> Self:
        """Read a size."""
        found = super().__new__(cls, parse_bytes(str(size)))
        found._written = str(size)
        return found

    _written: str

    def __str__(self) -> str:
        return self._written


def format_bytes(size_bytes: int) -> str:
    """Write a number of bytes in full, in groups of three digits: "7 600 000 bytes"."""
    return f"{size_bytes:,} byte{'' if size_bytes == 1 else 's'}".replace(",", " ")


def owner_of(file_name: str) -> str:
    """The owner, one of `OWNERS`, of a file of a state folder."""
    if _BLOCK_FILE.fullmatch(file_name):
        return "blocks"
    return _OWNER_OF_FILE.get(file_name, "other")


@dataclass(frozen=True)
class Entry:
    """One file of a state and its size."""

    file_name: str
    """Relative to the state folder, with forward slashes."""
    owner: str
    """One of `OWNERS`."""
    size_bytes: int
    """Size of the file's content."""


@dataclass(frozen=True)
class Ledger:
    """Who owns which byte of a state; its sum is that of the state's files, to the byte."""

    entries: tuple[Entry, ...]
    """One entry per file, in the order of their names."""

    @classmethod
    def of_files(cls, sizes: Iterable[tuple[str, int]]) -> "Ledger":
        """The ledger of files given as (name, size in bytes), which need not exist yet."""
        return cls(tuple(Entry(name, owner_of(name), size) for name, size in sorted(sizes)))

    @classmethod
    def of_folder(cls, folder: Path) -> "Ledger":
        """The ledger of the real files under `folder`, hidden and foreign ones included.

        Raises:
            OSError: `folder` or a file in it cannot be read.
        """
        return cls.of_files(
            (path.relative_to(folder).as_posix(), path.lstat().st_size)
            for path in _files_under(folder)
        )

    @property
    def total_bytes(self) -> int:
        """The sum over all files."""
        return sum(entry.size_bytes for entry in self.entries)

    def by_owner(self) -> dict[str, int]:
        """Bytes per owner; "statistics" and "other" appear only where they own any."""
        sizes = dict.fromkeys(OWNERS, 0)
        for entry in self.entries:
            sizes[entry.owner] += entry.size_bytes
        return {owner: size for owner, size in sizes.items() if size or owner not in _SELDOM}

    def require_within(self, budget_bytes: int) -> None:
        """Refuse a state that is even one byte larger than `budget_bytes`.

        Raises:
            BudgetError: the state is too large; the message says how large, and what to do.
        """
        over = self.total_bytes - budget_bytes
        if over <= 0:
            return
        owners = ", ".join(f"{owner} {format_bytes(n)}" for owner, n in self.by_owner().items())
        raise BudgetError(
            f"the state takes {format_bytes(self.total_bytes)} ({owners}), "
            f"{format_bytes(over)} over the budget of {format_bytes(budget_bytes)}; "
            "raise --budget, or keep the weights in fewer bytes with --state-precision"
        )


def _files_under(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files_under(path)
        else:
            yield path
