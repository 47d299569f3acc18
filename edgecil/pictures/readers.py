"""The processes that read pictures for training, where they cannot start or do not live.

Where Python starts them anew instead of forking (macOS; Linux from Python 3.14 on), each first
imports the script that was started. One that calls `edgecil.train` outside of
`if __name__ == "__main__":` would train again in each of them. There the call ends the process
without a word, and the one that waits for it says what to do.
"""

import multiprocessing
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from edgecil.errors import TrainingError

_DEAD = re.compile(r"DataLoader worker .*(exited unexpectedly|is killed by signal)")


def end_if_only_imported() -> None:
    """End a process that was started to read pictures, and that is importing its script.

    Raises:
        SystemExit: it is one.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextmanager
def death_of_readers_told() -> Iterator[None]:
    """Say in a sentence that a process that read pictures has gone, and what to do.

    Raises:
        TrainingError: one has.
    """
    try:
        yield
    except (RuntimeError, EOFError, OSError) as error:
        # torch tells it as a RuntimeError, whatever the main thread is doing then.
        is_told = isinstance(error, RuntimeError) and _DEAD.search(str(error))
        if not (is_told or _arose_on_starting(error)):
            raise
        raise TrainingError(_told()) from None


def _arose_on_starting(error: Exception) -> bool:
    """Whether the other end of multiprocessing's own pipes went away."""
    frames = traceback.walk_tb(error.__traceback__)
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in frames]
    gone = isinstance(error, ConnectionError | EOFError)
    return gone and any(name.startswith("multiprocessing.") for name in modules)


def _told() -> str:
    full = "see what was printed above, free memory, and go on with --resume (resume=True)"
    if multiprocessing.get_start_method() == "fork":
        return f"a process that reads pictures has ended, most likely since memory was full; {full}"
    return (
        "a process that reads pictures has ended. Does a script call edgecil.train at its top "
        'level? Put the call below if __name__ == "__main__":, since each such process imports the '
        f"script. If not, memory was most likely full; {full}"
    )
