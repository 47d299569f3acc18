"""Quantities as people say them."""

from collections.abc import Iterable

_MINUTE_SECONDS, _HOUR_SECONDS, _DAY_SECONDS = 60, 3600, 86_400


def duration_in_words(seconds: float) -> str:
    """Seconds as "12 s", "4 min", "2 h 10 min" or "3 d 4 h"; never more exact than is known."""
    if seconds < _MINUTE_SECONDS:
        return f"{seconds:.0f} s" if seconds < _MINUTE_SECONDS - 0.5 else "1 min"
    minutes = round(seconds / _MINUTE_SECONDS)
    if minutes < 60 and seconds < _HOUR_SECONDS:
        return f"{minutes} min"
    if seconds < _DAY_SECONDS:
        tens = round(seconds / (10 * _MINUTE_SECONDS))
        hours, ten_minutes = divmod(tens, 6)
        return f"{hours} h {ten_minutes}0 min" if ten_minutes else f"{hours} h"
    days, hours = divmod(round(seconds / _HOUR_SECONDS), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def tasks_in_words(tasks: Iterable[int]) -> str:
    """Tasks that are counted from 0, rising, as people count them: "1-3, 5"."""
    runs: list[list[int]] = []
    for task in tasks:
        if runs and runs[-1][-1] == task - 1:
            runs[-1].append(task)
        else:
            runs.append([task])
    return ", ".join(
        f"{run[0] + 1}-{run[-1] + 1}" if len(run) > 1 else f"{run[0] + 1}" for run in runs
    )
