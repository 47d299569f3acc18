"""Bars are shown where a terminal is there, and leave nothing behind."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from edgecil.cli import bars
from edgecil.work import is_watched
from tests.edgecil.cli.screen import in_terminal

LONG = "x" * 100

WORKS = f"""
import sys
from edgecil.cli import bars
from edgecil.work import work

bars._AT_FIRST_SECONDS = bars._AT_LEAST_SECONDS = bars._COSTS = 0  # draw whatever there is
with bars.bars_shown():
    with work("task 1/2", facts=lambda: "2 h left"), work("train 1/8", 8) as done:
        for step in range(8):
            done(1)
            if step == 5:
                print("{LONG}", file=sys.stderr)
                ENDING
print("data")
"""
PLAIN = f"{LONG}\ndata"


def test_a_terminal_shows_bars_with_lines_above_them_and_is_clean_afterwards() -> None:
    written, left = in_terminal(WORKS.replace("ENDING", ""))
    for shown in ("train 1/8", "75%", "6/8", "━", "task 1/2", "2 h left"):
        assert shown in written
    assert left == PLAIN
    assert "\x1b[?25l" not in written  # the cursor is never hidden


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "raise SystemExit(3)"])
def test_an_interruption_takes_the_bars_away(ending: str) -> None:
    written, left = in_terminal(WORKS.replace("ENDING", ending))
    assert "75%" not in left
    assert "━" in written
    assert "━" not in left
    assert left.startswith(LONG)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}])
def test_a_terminal_that_cannot_be_written_over_gets_lines_alone(
    environment: dict[str, str],
) -> None:
    written, _ = in_terminal(WORKS.replace("ENDING", ""), **environment)
    assert written.replace("\r", "") == f"{PLAIN}\n"


def test_without_colours_there_are_bars_and_no_colours() -> None:
    written, left = in_terminal(WORKS.replace("ENDING", ""), NO_COLOR="1")
    assert "━" in written
    assert "\x1b[3" not in written
    assert left == PLAIN


def test_a_file_gets_lines_alone_even_where_colours_are_forced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKS.replace("ENDING", "")],
        capture_output=True,
        text=True,
        env={**os.environ, "FORCE_COLOR": "1"},
        check=True,
    )
    assert (done.stderr, done.stdout) == (f"{LONG}\n", "data\n")


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_where_nobody_looks_nobody_watches(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with bars.bars_shown():
        assert not is_watched()


def test_bars_are_drawn_neither_for_short_work_nor_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = [100.0], list[float]()
    monkeypatch.setattr("edgecil.cli.bars.time.perf_counter", lambda: now[0])

    def draw(self: bars.Bars, at: float) -> None:
        drawn.append(round(at - 100, 3))
        self._live = True  # type: ignore[assignment]
        now[0] += 0.002  # what a drawing takes

    monkeypatch.setattr(bars.Bars, "_draw", draw)
    monkeypatch.setattr(bars.Bars, "_clear", lambda self: None)
    shown = bars.Bars(Console(file=io.StringIO()))
    with shown.watch("train", 1000, None) as done:
        for _ in range(1000):
            now[0] += 0.001
            done(1)
    # After 0.3 s, 0.1 s after that, and from then on 200 times as long as one takes.
    assert drawn == pytest.approx([0.3, 0.402, 0.804], abs=0.003)
