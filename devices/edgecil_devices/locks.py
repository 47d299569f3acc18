"""Locks on files: one writer at a time, and the system takes a lock back when its holder ends."""

import errno
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from edgecil_devices.ownership import opened

_UNKNOWN = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""What a file system that has no locks answers."""

_PATIENCE_S = 0.3
"""How long a lock that names nobody is waited for: whoever has just taken it writes its name a
moment later, and whoever only looks is soon done."""

_SOMEBODY = "another process"

_held: set[int] = set()
"""Descriptors of locks that this process holds."""


class LockHeldError(Exception):
    """Somebody else holds the lock; whoever asked for it says what that means.

    Args:
        holder: "process 4711", or "another process" where that is not known.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock that the file `path` stands for, until the block or the process ends.

    The file is made if need be and stays, since whoever deleted it might delete another's lock. It
    names the process that holds it.

    Args:
        path: the lock's file.
        shared: hold it together with all others who share it. The file is then not made: where
            there is none, nobody has ever held it alone.

    Yields:
        Whether it is held; False where the file system has no locks, or there is no file to share.

    Raises:
        LockHeldError: another process holds it.
        OSError: the file cannot be opened.
    """
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        descriptor = opened(path, flags | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        if not shared:
            raise
        yield False
        return
    _held.add(descriptor)
    alone = False
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        known = _lock(descriptor, kind, _PATIENCE_S, _holder)
        alone = known and not shared
        if alone:
            _write_holder(descriptor, f"{os.getpid()} {platform.node()}\n")
        yield known
    finally:
        if descriptor in _held:  # else this is a child
            if alone:
                _write_holder(descriptor, "")
            _held.remove(descriptor)
            os.close(descriptor)


def lock_for_heirs(file: IO[bytes], wait_s: float) -> bool:
    """Lock an open file until it is closed here and by every process that has inherited it.

    Nothing is written to the file, so it may be a log.

    Args:
        file: what to lock.
        wait_s: how long to wait for another holder.

    Returns:
        Whether it is held; False where the file system has no locks.

    Raises:
        LockHeldError: another process still holds it.
    """
    return _lock(file.fileno(), fcntl.LOCK_EX, wait_s, lambda _: _SOMEBODY)


def _lock(descriptor: int, kind: int, wait_s: float, holder_of: Callable[[int], str]) -> bool:
    patient_until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = holder_of(descriptor)
            if holder != _SOMEBODY or time.monotonic() > patient_until:
                raise LockHeldError(holder) from None
            time.sleep(_PATIENCE_S / 30)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            return False
        else:
            return True


def _write_holder(descriptor: int, text: str) -> None:
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock alone, in words; those who share it are not named."""
    number, _, machine = (
        os.pread(descriptor, 300, 0).decode(errors="replace").strip().partition(" ")
    )
    if not number.isascii() or not number.isdecimal():
        return _SOMEBODY
    if machine != platform.node():
        return f"process {number} on {machine}"
    # A process that was killed could not take its name away, and others may share the lock since.
    return f"process {number}" if is_alive(int(number)) else _SOMEBODY


def is_alive(process: int) -> bool:
    """Whether there is a process of this number, whoever's it is."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


def _let_go_in_child() -> None:
    """A forked process would keep the lock after its parent was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)
