"""Work says how far it is to whoever watches, and to nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from edgecil.work import Done, Facts, beat, is_watched, watched_by, work


class Diary:
    def __init__(self) -> None:
        self.said: list[object] = []

    @contextmanager
    def watch(self, name: str, total: int | None, facts: Facts | None) -> Iterator[Done]:
        self.said.append((name, total, facts and facts()))
        try:
            yield self.said.append
        finally:
            self.said.append(f"end of {name}")

    def beat(self) -> None:
        self.said.append("beat")


def test_a_watcher_hears_of_work_and_of_the_work_within() -> None:
    diary = Diary()
    with watched_by(diary), work("task", facts=lambda: "3 s left"):
        with work("epoch", 5) as done:
            done(2)
        beat()
    assert diary.said == [
        ("task", None, "3 s left"),
        ("epoch", 5, None),
        2,
        "end of epoch",
        "beat",
        "end of task",
    ]


def test_work_that_fails_ends_for_the_watcher_too() -> None:
    diary = Diary()
    with pytest.raises(ZeroDivisionError), watched_by(diary), work("sum", 1):
        1 / 0  # noqa: B018
    assert diary.said[-1] == "end of sum"
    assert not is_watched()


def test_nobody_hears_of_what_is_done_without_a_watcher_or_in_another_thread() -> None:
    diary = Diary()

    def elsewhere() -> None:
        with work("reading", 3) as done:
            done(3)

    with watched_by(diary):
        thread = Thread(target=elsewhere)
        thread.start()
        thread.join()
        with watched_by(None):
            elsewhere()
            beat()
    elsewhere()
    assert diary.said == []
