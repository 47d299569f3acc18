"""How long something may take, as people write it; and a signal, which ends it at any line."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from edgecil.errors import UsageError
from edgecil.training.stopping import Stopped, parse_duration, stopping_on_signals


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        (" 9 m ", 540),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("2m0.5s", 120.5),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "5", "-1h", "30m1h", "1h1h", "0s", "0h0m", "1h30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"write 90s, 9m, 1\.5h or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_what_takes_every_exception_for_a_fault(
    number: signal.Signals, code: int
) -> None:
    before = signal.getsignal(number)
    told = rf"^stopped by {number.name}; "
    with pytest.raises(Stopped, match=told) as stopped, stopping_on_signals(), suppress(Exception):
        signal.raise_signal(number)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before


@contextmanager
def interrupts_made_anew() -> Iterator[None]:
    """As Ray does with those that come while it waits."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def test_a_signal_of_which_a_library_makes_an_interrupt_of_its_own_is_told_alike() -> None:
    with (
        pytest.raises(Stopped, match="^stopped by SIGTERM; ") as stopped,
        stopping_on_signals(),
        interrupts_made_anew(),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.exit_code == 143


def test_an_interrupt_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), stopping_on_signals():
        raise KeyboardInterrupt
