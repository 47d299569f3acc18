"""How long something may take, as people write it."""

import pytest

from edgecil.errors import UsageError
from edgecil.training.stopping import parse_duration


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
