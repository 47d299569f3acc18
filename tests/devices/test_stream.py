"""Answers: unknown below a threshold, and only when enough of the last frames agree."""

import os
import signal
from collections.abc import Iterator

import pytest

from edgecil_devices.errors import UsageError
from edgecil_devices.stream import UNKNOWN, Agreement, Answer, Answerer, StopSignals


def told(answerer: Answerer, frames: str, score: float = 0.5) -> str:
    """The answers to frames of one letter each; `-` for unknown."""
    answers = [answerer.answer(label, score).label for label in frames]
    return "".join("-" if label == UNKNOWN else label for label in answers)


def test_below_the_threshold_the_answer_is_unknown() -> None:
    answerer = Answerer(threshold=0.6)
    assert answerer.answer("cat", 0.6) == Answer("cat", 0.6)
    assert answerer.answer("cat", 0.59) == Answer(UNKNOWN, None)
    assert told(Answerer(threshold=0), "ab", score=0.0) == "ab"


@pytest.mark.parametrize("threshold", [-0.1, 1.01, 60, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(UsageError, match="is no probability; give 0 to 1"):
        Answerer(threshold)


@pytest.mark.parametrize(
    ("agree", "frames", "answers"),
    [
        ("1/1", "abba", "abba"),
        ("3/5", "aaa", "--a"),
        ("3/5", "aabab", "---aa"),
        ("3/5", "aaabbb", "--aaab"),
        ("3/3", "aabbb", "----b"),
        ("2/2", "abab", "----"),
        ("1/3", "aab", "aaa"),  # two of three say a
        ("1/2", "ab", "ab"),  # one each: the newer counts
    ],
)
def test_enough_of_the_last_frames_must_agree(agree: str, frames: str, answers: str) -> None:
    assert told(Answerer(agreement=Agreement.parse(agree)), frames) == answers


def test_frames_below_the_threshold_vote_for_nothing() -> None:
    answerer = Answerer(0.5, Agreement(2, 3))
    scores = [0.875, 0.125, 0.625, 0.125, 0.125]
    answers = [answerer.answer("cat", score) for score in scores]
    unknown = Answer(UNKNOWN, None)
    assert answers == [unknown, unknown, Answer("cat", 0.75), unknown, unknown]


def test_a_class_may_be_called_unknown() -> None:
    assert Answerer(0.5, Agreement(1, 2)).answer(UNKNOWN, 0.9) == Answer(UNKNOWN, 0.9)


@pytest.mark.parametrize("text", ["", "3", "3/", "/5", "3of5", "-1/5", "3/5/7", "²/5", "3 / 5"])
def test_what_is_no_agreement_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--agree {text} is no agreement; give votes/frames"):
        Agreement.parse(text)


@pytest.mark.parametrize("text", ["6/5", "0/5", "0/0", "3/1001"])
def test_an_agreement_that_cannot_be_reached_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="frames cannot agree; give votes/frames, 3/5"):
        Agreement.parse(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_breaks_off_waiting_for_the_next_item(number: int) -> None:
    before = signal.getsignal(number)
    released = []

    def items() -> Iterator[str]:
        try:
            yield "first"
            os.kill(os.getpid(), number)
            raise AssertionError("the signal came too late")
        finally:
            released.append(True)

    with StopSignals() as signals:
        assert list(signals.until_stopped(items())) == ["first"]
        assert signals.received == number
    assert released == [True]
    assert signal.getsignal(number) == before


def test_a_signal_while_an_item_is_worked_on_lets_it_finish() -> None:
    done = []
    with StopSignals() as signals:
        for item in signals.until_stopped(iter(range(10))):
            if item == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            done.append(item)
    assert done == [0, 1, 2]


def test_a_second_signal_does_what_it_always_did() -> None:
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert list(signals.until_stopped(iter("ab"))) == ["a", "b"]
    finally:
        signal.signal(signal.SIGINT, before)
