"""How far a comparison is."""

from edgecil.comparison.outlook import Outlook


def test_runs_to_come_are_taken_to_last_as_long_as_those_before() -> None:
    now = [100.0]
    outlook = Outlook(12, lambda: now[0])
    assert outlook.take(False) + outlook.take(False) == 0
    assert outlook.in_words() == "0/12 runs, 2 at work"
    now[0] += 1800
    assert outlook.take(True) == 1
    outlook.take(False)
    now[0] += 1800
    outlook.take(True)
    outlook.take(True)
    # Three in an hour; nine are left.
    assert outlook.in_words() == "3/12 runs, 0 at work, 3 h left"


def test_nothing_is_said_of_runs_at_work_where_no_start_is_told() -> None:
    """Ray tells ends alone."""
    now = [0.0]
    outlook = Outlook(4, lambda: now[0])
    assert outlook.in_words() == "0/4 runs"
    now[0] += 600
    assert outlook.take(True) == 1
    assert outlook.in_words() == "1/4 runs, 30 min left"
