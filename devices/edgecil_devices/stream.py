"""From predictions to answers: when to say `unknown`, and when enough frames of a stream agree."""

import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from edgecil_devices.errors import UsageError

T = TypeVar("T")

UNKNOWN = "unknown"
"""The answer when no class is likely enough, or the frames do not agree."""


class Answer(NamedTuple):
    """What is told of a picture."""

    label: str
    """A class, or `UNKNOWN`."""
    score: float | None
    """Its probability, 0 to 1, the mean over the frames that agree; None for unknown."""


@dataclass(frozen=True)
class Agreement:
    """A label is told only when at least `votes` of the last `frames` frames say so."""

    votes: int = 1
    """1 to `frames`."""
    frames: int = 1
    """How far back; a picture that cannot be read is none."""

    def __post_init__(self) -> None:
        if not 1 <= self.votes <= self.frames <= 1000:
            raise UsageError(
                f"{self.votes} of {self.frames} frames cannot agree; "
                "give votes/frames, 3/5 for example, with at most 1000 frames"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3/5`.

        Raises:
            UsageError: it is nothing like that.
        """
        votes, _, frames = text.partition("/")
        if not (text.isascii() and votes.isdecimal() and frames.isdecimal()):
            raise UsageError(f"--agree {text} is no agreement; give votes/frames, 3/5 for example")
        return cls(int(votes), int(frames))


class Answerer:
    """Turns the best class of each picture, in their order, into answers.

    Args:
        threshold: below this probability, 0 to 1, the answer is unknown.
        agreement: how many frames must say the same.

    Raises:
        UsageError: the threshold is not from 0 to 1.
    """

    def __init__(self, threshold: float | None = None, agreement: Agreement | None = None) -> None:
        self._threshold = 0.0 if threshold is None else threshold
        if not 0 <= self._threshold <= 1:
            raise UsageError(f"threshold {threshold:g} is no probability; give 0 to 1")
        self._agreement = agreement or Agreement()
        self._last: deque[Answer] = deque(maxlen=self._agreement.frames)

    def answer(self, label: str, score: float, known: bool = True) -> Answer:
        """The answer for the next picture.

        Args:
            label: its most probable class.
            score: the probability of that, 0 to 1.
            known: whether the picture is like anything that was learned, as far as that was asked.
        """
        sure = known and score >= self._threshold
        self._last.appendleft(Answer(label, score) if sure else Answer(UNKNOWN, None))
        # None and not the name, as a class may be called "unknown". Of two labels with the same
        # number of votes the newer one counts: it is met first.
        votes = Counter(seen.label for seen in self._last if seen.score is not None)
        for told, count in votes.most_common(1):
            if count >= self._agreement.votes:
                scores = [seen.score for seen in self._last if seen.label == told and seen.score]
                return Answer(told, sum(scores) / count)
        return Answer(UNKNOWN, None)


class WaitInterrupted(BaseException):
    """A person or the system asked to stop while the next picture was waited for.

    No Exception, so that nothing takes it for a picture that cannot be read.
    """


class StopSignals:
    """SIGINT and SIGTERM end a stream between two pictures, not within one.

    As a context manager it handles both signals and afterwards puts back what was there. A second
    signal does what it would have done without us.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal's number."""
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before != signal.SIG_IGN:  # as in the background of a shell script
                    self._before[number] = before
                    signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._put_back()

    def until_stopped(self, items: Iterator[T]) -> Iterator[T]:
        """The items until a signal comes; waiting for one is broken off."""
        try:
            while True:
                with self._breakable():
                    item = next(items, None)
                if item is None:
                    return
                yield item
        except WaitInterrupted:
            return

    @contextmanager
    def _breakable(self) -> Iterator[None]:
        self._waiting = True
        try:
            if self.received is not None:
                raise WaitInterrupted
            yield
        finally:
            self._waiting = False

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._put_back()
        if self._waiting:
            raise WaitInterrupted

    def _put_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
