"""Stopping in good order: by the clock, by Ctrl-C, or because the system asks."""

import math
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edgecil.errors import EdgecilError, UsageError

EXIT_STOPPED = 75
"""Exit code after `--stop-after` (EX_TEMPFAIL): the same command goes on, train's with --resume."""

_DURATION = re.compile(r"\s*".join(rf"(?:(\d+(?:\.\d+)?)\s*{unit})?" for unit in "hms"))


class Stopped(EdgecilError):  # noqa: N818 - not an error, but it ends the command like one
    """Training stopped as it was asked to; it can go on from the last epoch that was kept.

    Args:
        reason: what stopped it.
        exit_code: what the command ends with.
        remedy: how to go on; what is right for `edgecil train` if nothing is said.
    """

    def __init__(
        self,
        reason: str,
        exit_code: int,
        remedy: str = "the same command with --resume goes on",
    ) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.exit_code = reason, exit_code


class Interrupted(KeyboardInterrupt):
    """A signal came, at whatever line that was: no `except Exception` may take it for a fault.

    Processes that read pictures have the handler, too, and torch ends them quietly on this.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def parse_duration(text: str) -> float:
    """Read "90s", "9m", "1.5h" or "1h30m" as seconds.

    Raises:
        UsageError: no number, no unit, units out of order, or nothing at all.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = 0.0
    if match:
        parts = zip(match.groups(default="0"), (3600, 60, 1), strict=True)
        seconds = sum(float(number) * unit for number, unit in parts)
    if not 0 < seconds < math.inf:
        raise UsageError(f"cannot read {text!r} as a duration; write 90s, 9m, 1.5h or 1h30m")
    return seconds


class Deadline:
    """The time by which training has to stop.

    Args:
        seconds: from now; None for never.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def comes(self, next_seconds: float = 0) -> bool:
        """Whether work of `next_seconds` would end too late."""
        return self._end is not None and time.monotonic() + next_seconds > self._end

    def check(self, next_seconds: float = 0) -> None:
        """Stop if work of `next_seconds` would end too late.

        Raises:
            Stopped: with exit code `EXIT_STOPPED`.
        """
        if self.comes(next_seconds):
            raise Stopped("stopped by --stop-after", EXIT_STOPPED)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Stopped`, with the exit code a shell expects (128 + signal).

    It is `Interrupted` until the context ends.

    Raises:
        Stopped: one has come.
    """
    came: list[Interrupted] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        came.append(Interrupted(number))
        raise came[-1]

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:  # Ray makes a plain one of it
        if not came:
            raise
        raise Stopped(str(came[0]), came[0].exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
