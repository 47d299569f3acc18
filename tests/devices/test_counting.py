"""Numbers of things, in words."""

import pytest

from edgecil_devices.counting import counted


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "picture", "0 pictures"),
        (1, "picture", "1 picture"),
        (2, "picture", "2 pictures"),
        (1, "new class", "1 new class"),
        (3, "new class", "3 new classes"),
    ],
)
def test_one_of_a_thing_is_not_told_as_several(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words
