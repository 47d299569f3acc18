"""Durations as people say them."""

import pytest

from edgecil.words import duration_in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (89, "1 min"),
        (3569, "59 min"),
        (3571, "1 h"),
        (5 * 3600 + 19 * 60, "5 h 20 min"),
        (86_399, "24 h"),
        (86_400, "1 d"),
        (100 * 3600, "4 d 4 h"),
    ],
)
def test_durations_are_said_no_more_exactly_than_they_are_known(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words
