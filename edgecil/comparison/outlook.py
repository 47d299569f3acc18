"""How far a comparison is, and how long the rest of it will take."""

import time
from collections.abc import Callable

from edgecil.words import duration_in_words


class Outlook:
    """Counts runs that start and end; those to come are taken to last as long as those before.

    Args:
        total: runs in all.
        clock: seconds that only go forward.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._total, self._clock, self._began = total, clock, clock()
        self._started = self._ended = 0

    def take(self, ended: bool) -> int:
        """A run starts, or has ended; returns how many more have ended."""
        self._started += not ended
        self._ended += ended
        return int(ended)

    def in_words(self) -> str:
        """Such as "3/12 runs, 2 at work, 1 h 20 min left".

        How many are at work is known where starts are told, as Ray does not.
        """
        told = f"{self._ended}/{self._total} runs"
        if self._started:
            told += f", {self._started - self._ended} at work"
        if not self._ended:
            return told
        seconds = (self._clock() - self._began) * (self._total - self._ended) / self._ended
        return f"{told}, {duration_in_words(seconds)} left"
