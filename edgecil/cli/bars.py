"""Bars on the terminal: how far long work is, by `rich`, which comes with typer.

They are drawn where standard error is a terminal that can be written over, nowhere else, and only
from the thread that works: at most ten times a second, and for about a two-hundredth of the time.
Lines that are said meanwhile come above them. When the work ends they are gone, and so
they are when it is interrupted; the cursor is never hidden.
"""

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TextIO

from edgecil.words import duration_in_words
from edgecil.work import Done, Facts, watched_by

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_AT_FIRST_SECONDS = 0.3
"""What is done sooner gets no bar."""
_AT_LEAST_SECONDS = 0.1
"""Between two drawings ..."""
_COSTS = 200
"""... and this many times as long as one takes ..."""
_AT_MOST_SECONDS = 2.0
"""... but no longer."""
_WIDEST_BAR = 24
_WIDEST_NAME = 24
_BESIDE_BAR = 55
"""Columns that the rest of a line may take."""


@contextmanager
def bars_shown() -> Iterator[None]:
    """Show how far work is while the context lasts, where a terminal is there for it."""
    console = _terminal(sys.stderr)
    if console is None:
        yield
        return
    with watched_by(Bars(console)):
        yield


def _terminal(stream: TextIO | None) -> "Console | None":
    """What draws on a stream; None where that cannot be, as in a file or where TERM is dumb."""
    # Asked here, for rich takes a file for a terminal where FORCE_COLOR is set.
    if stream is None or not stream.isatty():
        return None
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None  # typer can be had without it
    console = Console(file=stream, highlight=False)
    # A process that is killed, or sent to the background, could not bring a hidden cursor back.
    console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
    return console if console.is_interactive and not console.is_dumb_terminal else None


@dataclass(eq=False)
class _Row:
    """One line: a work that is under way."""

    name: str
    total: int | None
    facts: Facts | None
    done: int = 0
    started: float = field(default_factory=lambda: time.perf_counter())

    def told(self, now: float) -> str:
        """What stands behind the bar."""
        if self.facts:
            return self.facts()
        if not self.total or not self.done:
            return ""
        left_seconds = (now - self.started) * (self.total - self.done) / self.done
        return f"{self.done}/{self.total}  {duration_in_words(left_seconds)} left"


class Bars:
    """Shows work as lines with bars; a `Watcher`.

    Args:
        console: draws on the terminal.
    """

    def __init__(self, console: "Console") -> None:
        self._console, self._rows = console, list[_Row]()
        self._live: Live | None = None
        self._stderr: TextIO | None = None
        self._due = 0.0

    @contextmanager
    def watch(self, name: str, total: int | None, facts: Facts | None) -> Iterator[Done]:
        """See `Watcher`."""
        row = _Row(name, total, facts)
        if not self._rows:
            self._due = row.started + _AT_FIRST_SECONDS
        self._rows.append(row)
        try:
            yield partial(self._advance, row)
        finally:
            self._rows.remove(row)
            if not self._rows:
                self._clear()

    def beat(self) -> None:
        """See `Watcher`."""
        now = time.perf_counter()
        if now >= self._due and self._rows:
            first = self._live is None  # it imports rich, and says nothing of what others cost
            self._draw(now)
            then = time.perf_counter()
            pause_seconds = 0.0 if first else _COSTS * (then - now)
            self._due = then + min(max(_AT_LEAST_SECONDS, pause_seconds), _AT_MOST_SECONDS)

    def _advance(self, row: _Row, count: int) -> None:
        row.done += count
        self.beat()

    def _draw(self, now: float) -> None:
        table = self._table(now)
        if self._live:
            self._live.update(table, refresh=True)
            return
        from rich.live import Live

        self._live = Live(
            table,
            console=self._console,
            auto_refresh=False,  # no thread: it would take the interpreter from the work
            transient=True,
            redirect_stdout=False,  # what is printed there is data
            redirect_stderr=False,  # rich would break long lines
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        self._stderr, sys.stderr = sys.stderr, _Above(self._console)

    def _clear(self) -> None:
        live, self._live = self._live, None
        if live:
            sys.stderr = self._stderr  # as it was
            live.stop()

    def _table(self, now: float) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(4):
            table.add_column(no_wrap=True)
        width = max(4, min(_WIDEST_BAR, self._console.width - _BESIDE_BAR))
        for row in self._rows:
            part = min(1.0, row.done / row.total) if row.total else None
            table.add_row(
                Text(f"  {row.name[:_WIDEST_NAME]}"),
                "" if part is None else ProgressBar(100, 100 * part, width=width),
                "" if part is None else f"{int(100 * part):>3}%",
                Text(row.told(now)),
            )
        return table


class _Above(io.TextIOBase):
    """Stands for standard error while bars are shown: what is written comes above them."""

    def __init__(self, console: "Console") -> None:
        self._console, self._stream, self._line = console, console.file, ""
        self._process = os.getpid()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self._stream, "encoding", "utf-8"))

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        self._stream.flush()

    def write(self, text: str) -> int:
        if os.getpid() != self._process:  # a worker process, whose bars these are not
            return self._stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._console.print(line, soft_wrap=True, markup=False, emoji=False)
        return len(text)
