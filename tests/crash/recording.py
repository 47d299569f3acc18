"""Records every file operation of this process under one folder, and can make one of them fail.

What is patched are `io.open` and the functions of `os` that Python's own libraries end in. Reading
is left alone. `disks` makes of the record what a power cut may leave.
"""

import builtins
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MAKE, WRITE, TRUNCATE, RENAME, UNLINK, MAKE_FOLDER, REMOVE_FOLDER, SYNC = (
    "make",
    "write",
    "truncate",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "fsync",
)


@dataclass(frozen=True)
class Operation:
    """One operation that succeeded."""

    kind: str
    path: str
    """Relative to the recorded folder."""
    target: str = ""
    """Of a rename."""
    offset: int = 0
    """Of a write; the new size, of a truncation."""
    data: bytes = b""
    """Of a write."""


def left_by_a_dead_process(path: Path) -> Path:
    """Half a file where a process that has ended since was writing what was to become `path`."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    left = path.with_name(f".{path.name}.{process.pid}")
    left.write_bytes(b"half")
    return left


class KilledError(BaseException):
    """Stands for the end of the process: no handler of errors gets to do anything any more."""


class Recorder:
    """Records while it is entered.

    Args:
        root: only what lies under it is recorded.
        fail_at: the operation to fail, counted from 1; 0: none.
        error: what it fails with; None: the process ends there, as by a kill.
        lasting: whether every later one fails too, those that delete excepted.
    """

    def __init__(
        self, root: Path, fail_at: int = 0, error: int | None = errno.EIO, *, lasting: bool = False
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.operations: list[Operation] = []
        self._fail_at, self._error, self._lasting = fail_at, error, lasting
        self.attempted = 0
        self._real: dict[str, Any] = {}

    @property
    def failed(self) -> bool:
        """Whether the operation to fail was reached."""
        return 0 < self._fail_at <= self.attempted

    def __enter__(self) -> Self:
        self._real = {name: getattr(os, name) for name in _REPLACEMENTS}
        self._real_open = io.open
        for name, make in _REPLACEMENTS.items():
            setattr(os, name, make(self, self._real[name]))
        io.open = builtins.open = self._open
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        io.open = builtins.open = self._real_open
        for name, function in self._real.items():
            setattr(os, name, function)

    def inside(self, path: Any, folder: int | None = None) -> str | None:
        """The path relative to the root; None if it is not in it."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif folder is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fspath(path))
        text = os.path.abspath(os.fspath(path))
        parent = os.path.realpath(os.path.dirname(text))
        full = Path(parent, os.path.basename(text))
        return str(full.relative_to(self.root)) if full.is_relative_to(self.root) else None

    def attempt(self, operation: Operation, run: Callable[[], Any]) -> Any:
        """Perform an operation and record it, or fail it."""
        self.attempted += 1
        if self._error is None and self.failed:
            raise KilledError
        if self._error is not None and self._must_fail(operation):
            raise OSError(self._error, os.strerror(self._error), str(self.root / operation.path))
        result = run()
        self.operations.append(operation)
        return result

    def _must_fail(self, operation: Operation) -> bool:
        if not self._fail_at or self.attempted < self._fail_at:
            return False
        if self.attempted == self._fail_at:
            return True
        return self._lasting and operation.kind not in (UNLINK, REMOVE_FOLDER)

    def _open(
        self, file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any
    ) -> Any:
        path = None if isinstance(file, int) else self.inside(file)
        if path is None or not set(mode) & set("wax+"):
            return self._real_open(file, mode, buffering, *more, **named)
        plain = mode.replace("b", "").replace("t", "")
        known = os.path.exists(file)

        def opened() -> "_RecordedFile":
            return _RecordedFile(self, path, os.fspath(file), plain)

        if not known:
            raw = self.attempt(Operation(MAKE, path), opened)
        elif "w" in plain:
            raw = self.attempt(Operation(TRUNCATE, path), opened)
        else:
            raw = opened()
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **named)


class _RecordedFile(io.FileIO):
    def __init__(self, recorder: Recorder, path: str, file: str, mode: str) -> None:
        super().__init__(file, mode)
        self._recorder, self._path = recorder, path

    def write(self, data: Any) -> int:
        content = bytes(data)
        offset = self.seek(0, os.SEEK_END) if "a" in self.mode else self.tell()
        operation = Operation(WRITE, self._path, offset=offset, data=content)
        written: int = self._recorder.attempt(
            operation, lambda: super(_RecordedFile, self).write(content)
        )
        assert written == len(content)
        return written

    def truncate(self, size: int | None = None) -> int:
        length = self.tell() if size is None else size
        operation = Operation(TRUNCATE, self._path, offset=length)
        cut: int = self._recorder.attempt(
            operation, lambda: super(_RecordedFile, self).truncate(length)
        )
        return cut


def _on_path(kind: str) -> Callable[[Recorder, Any], Any]:
    def make(recorder: Recorder, real: Any) -> Any:
        def replacement(path: Any, *more: Any, dir_fd: int | None = None, **named: Any) -> Any:
            inside = recorder.inside(path, dir_fd)
            removing = kind in (UNLINK, REMOVE_FOLDER)
            if inside is None or (removing and not os.path.lexists(recorder.root / inside)):
                return real(path, *more, dir_fd=dir_fd, **named)
            run = lambda: real(path, *more, dir_fd=dir_fd, **named)  # noqa: E731
            return recorder.attempt(Operation(kind, inside), run)

        return replacement

    return make


def _renaming(recorder: Recorder, real: Any) -> Any:
    def replacement(source: Any, target: Any, **named: Any) -> Any:
        inside, there = recorder.inside(source), recorder.inside(target)
        if inside is None:
            return real(source, target, **named)
        assert there is not None
        run = lambda: real(source, target, **named)  # noqa: E731
        return recorder.attempt(Operation(RENAME, inside, there), run)

    return replacement


def _syncing(recorder: Recorder, real: Any) -> Any:
    def replacement(descriptor: int) -> Any:
        inside = recorder.inside(descriptor)
        if inside is None:
            return real(descriptor)
        return recorder.attempt(Operation(SYNC, inside), lambda: real(descriptor))

    return replacement


def _opening(recorder: Recorder, real: Any) -> Any:
    def replacement(path: Any, flags: int, *more: Any, **named: Any) -> Any:
        inside = recorder.inside(path, named.get("dir_fd"))
        if inside is None or not flags & os.O_CREAT or os.path.exists(path):
            return real(path, flags, *more, **named)
        run = lambda: real(path, flags, *more, **named)  # noqa: E731
        return recorder.attempt(Operation(MAKE, inside), run)

    return replacement


_REPLACEMENTS: dict[str, Callable[[Recorder, Any], Any]] = {
    "unlink": _on_path(UNLINK),
    "remove": _on_path(UNLINK),
    "mkdir": _on_path(MAKE_FOLDER),
    "rmdir": _on_path(REMOVE_FOLDER),
    "rename": _renaming,
    "replace": _renaming,
    "fsync": _syncing,
    "open": _opening,
}
