"""Who may use a run folder at the same time: one who writes it, or any number who export it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecil.errors import RunError
from edgecil.memory.state import is_cut_short, recover
from edgecil_devices.locks import LockHeldError, locked

LOCK = ".lock"
"""The file in a run folder that is locked; it stays when nobody holds it."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one who writes the run in `folder`, or exports it, while the block lasts.

    Raises:
        RunError: another process uses it.
    """
    with _refusing(folder), locked(folder / LOCK):
        yield


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep out whoever would write the run, after undoing what a crash cut short.

    Raises:
        RunError: another process writes it.
    """
    if is_cut_short(folder / "state"):
        with writing(folder):
            recover(folder / "state")
    with _refusing(folder), locked(folder / LOCK, shared=True):
        yield


def put_right(folder: Path) -> None:
    """Undo what a crash cut short. Where a process is at work it was none, and all stays."""
    with suppress(RunError), reading(folder):
        pass


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except LockHeldError as error:
        raise RunError(
            f"{folder} is in use by {error.holder}; wait until it has ended, or take another run"
        ) from None
