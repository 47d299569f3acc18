"""What a power cut may leave of a folder: the model, and every disk it allows.

What an fsync has confirmed is there. Of the rest, each operation may have reached the disk or not,
whatever its place in time: the data of files (wholly, in part, or as zeros) apart from the names in
folders. This is harsher than ext4, XFS or btrfs are; POSIX promises no more.
"""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.recording import (
    MAKE,
    MAKE_FOLDER,
    REMOVE_FOLDER,
    RENAME,
    SYNC,
    TRUNCATE,
    UNLINK,
    WRITE,
    Operation,
)

LOST, TORN, ZEROS = "lost", "torn", "zeros"
"""What becomes of an operation that was not confirmed; only data can be torn or zeros."""

_ALL_SUBSETS_UP_TO = 6


@dataclass
class _Node:
    """A file or a folder, apart from its names."""

    data: bytearray | None
    """None for a folder."""
    entries: dict[str, int] = field(default_factory=dict)
    """Of a folder: names, and the nodes they stand for."""


@dataclass(frozen=True)
class _Step:
    """An operation with the nodes it is on, which a rename does not change."""

    kind: str
    node: int
    """What is written, named, removed or synced."""
    folder: int = -1
    """Where the name is."""
    name: str = ""
    new_folder: int = -1
    new_name: str = ""
    offset: int = 0
    data: bytes = b""

    @property
    def is_data(self) -> bool:
        return self.kind in (WRITE, TRUNCATE)


class Disk:
    """A tree of files in memory."""

    def __init__(self, nodes: dict[int, _Node]) -> None:
        self.nodes = nodes

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """What is in a folder now."""
        disk = cls({0: _Node(None)})
        for parent, folders, files in os.walk(folder):
            at = disk.find(os.path.relpath(parent, folder))
            for name in folders:
                disk._add(at, name, _Node(None))
            for name in files:
                disk._add(at, name, _Node(bytearray(Path(parent, name).read_bytes())))
        return disk

    def _add(self, folder: int, name: str, node: _Node) -> int:
        number = len(self.nodes)
        self.nodes[number] = node
        self.nodes[folder].entries[name] = number
        return number

    def find(self, path: str) -> int:
        """The node of a path."""
        at = 0
        for part in Path(path).parts:
            at = self.nodes[at].entries[part]
        return at

    def copy(self) -> "Disk":
        return Disk(
            {
                number: _Node(None if n.data is None else bytearray(n.data), dict(n.entries))
                for number, n in self.nodes.items()
            }
        )

    def after(self, operations: Sequence[Operation]) -> "Disk":
        """The tree once all of `operations` are done, as a killed process leaves it."""
        disk = self.copy()
        for step in _steps(self, operations):
            disk.apply(step)
        return disk

    def know(self, step: _Step) -> _Node:
        """The file or folder that a step is on, though it may not have a name yet."""
        return self.nodes.setdefault(
            step.node, _Node(None if step.kind == MAKE_FOLDER else bytearray())
        )

    def apply(self, step: _Step, fate: str = "") -> None:
        """Do one step, as far as `fate` says and the tree allows."""
        node = self.know(step)
        if step.kind in (MAKE, MAKE_FOLDER):
            self.nodes[step.folder].entries.setdefault(step.name, step.node)
        elif step.kind == RENAME:
            there = self.nodes[step.new_folder].entries.get(step.new_name)
            if there is not None and self.nodes[there].entries and there != step.node:
                return  # no file system lets a folder take the place of one that is not empty
            if self.nodes[step.folder].entries.get(step.name) == step.node:
                del self.nodes[step.folder].entries[step.name]
            self.nodes[step.new_folder].entries[step.new_name] = step.node
        elif step.kind in (UNLINK, REMOVE_FOLDER):
            if self.nodes[step.folder].entries.get(step.name) == step.node and not node.entries:
                del self.nodes[step.folder].entries[step.name]
        elif step.is_data and node.data is not None:
            self._write(node.data, step, fate)

    @staticmethod
    def _write(content: bytearray, step: _Step, fate: str) -> None:
        if step.kind == TRUNCATE:
            del content[step.offset :]
            return
        data = step.data
        if fate == TORN:
            data = data[: len(data) // 2]
        elif fate == ZEROS:
            data = bytes(len(data))
        content.extend(bytes(max(0, step.offset - len(content))))
        content[step.offset : step.offset + len(data)] = data

    def write_to(self, folder: Path, at: int = 0) -> None:
        """Make real files of it."""
        folder.mkdir(exist_ok=True)
        for name, number in self.nodes[at].entries.items():
            data = self.nodes[number].data
            if data is None:
                self.write_to(folder / name, number)
            else:
                (folder / name).write_bytes(data)

    def digest(self, at: int = 0) -> bytes:
        """Equal for equal trees."""
        hashed = hashlib.sha256()
        for name, number in sorted(self.nodes[at].entries.items()):
            data = self.nodes[number].data
            below = self.digest(number) if data is None else hashlib.sha256(data).digest()
            hashed.update(repr((name, data is None, below)).encode())
        return hashed.digest()


def _steps(before: Disk, operations: Sequence[Operation]) -> list[_Step]:
    """Operations on paths as steps on nodes, found by going through them in order."""
    disk = before.copy()
    steps = []
    for operation in operations:
        path = Path(operation.path)
        if operation.kind in (WRITE, TRUNCATE, SYNC):
            node = disk.find(operation.path)
            step = _Step(operation.kind, node, offset=operation.offset, data=operation.data)
        else:
            new = operation.kind in (MAKE, MAKE_FOLDER)
            node = len(disk.nodes) if new else disk.find(operation.path)
            target = Path(operation.target)
            step = _Step(
                operation.kind,
                node,
                folder=disk.find(str(path.parent)),
                name=path.name,
                new_folder=disk.find(str(target.parent)) if operation.target else -1,
                new_name=target.name,
            )
        disk.apply(step)
        steps.append(step)
    return steps


def _unconfirmed(steps: Sequence[_Step]) -> list[int]:
    """Which steps no later fsync has confirmed."""
    synced: set[int] = set()
    pending = []
    for index in range(len(steps) - 1, -1, -1):
        step = steps[index]
        if step.kind == SYNC:
            synced.add(step.node)
        elif step.is_data:
            if step.node not in synced:
                pending.append(index)
        elif not {step.folder, step.new_folder} - {-1} <= synced:
            pending.append(index)
    return pending[::-1]


def _fates(steps: Sequence[_Step], pending: list[int]) -> Iterator[dict[int, str]]:
    """What may become of the unconfirmed steps."""
    yield {}
    data = [index for index in pending if steps[index].is_data]
    names = [index for index in pending if not steps[index].is_data]
    for fate in (LOST, TORN, ZEROS):
        yield dict.fromkeys(data, fate)
        yield dict.fromkeys(data, fate) | dict.fromkeys(names, LOST)
    yield dict.fromkeys(names, LOST)
    for one in pending:
        yield {one: LOST}
        yield {index: LOST for index in pending if index != one}
    if len(pending) <= _ALL_SUBSETS_UP_TO:
        for count in range(2, len(pending)):
            for lost in itertools.combinations(pending, count):
                yield dict.fromkeys(lost, LOST)


def crashes(
    before: Disk, operations: Sequence[Operation], seen: set[bytes] | None = None
) -> Iterator[tuple[int, Disk]]:
    """Every disk that a power cut may leave, once, with the number of operations before the cut.

    Args:
        before: the folder before the first operation; all of it is on the disk.
        operations: what was done, in order.
        seen: digests of the disks that need not be given again; those given are added.
    """
    steps = _steps(before, operations)
    seen = set() if seen is None else seen
    for cut in range(len(steps) + 1):
        for disk in _left(before, steps[:cut]):
            digest = disk.digest()
            if digest not in seen:
                seen.add(digest)
                yield cut, disk


def crashes_after_all(before: Disk, operations: Sequence[Operation]) -> Iterator[Disk]:
    """Every disk that a power cut may leave which comes after the last of `operations`, once."""
    seen: set[bytes] = set()
    for disk in _left(before, _steps(before, operations)):
        digest = disk.digest()
        if digest not in seen:
            seen.add(digest)
            yield disk


def _left(before: Disk, done: Sequence[_Step]) -> Iterator[Disk]:
    """What may be left of some steps, equal ones too."""
    for fate in _fates(done, _unconfirmed(done)):
        disk = before.copy()
        for index, step in enumerate(done):
            disk.know(step)
            if fate.get(index) != LOST:
                disk.apply(step, fate.get(index, ""))
        yield disk
