"""Work that takes a while says how far it is; who shows it, if anybody does, is decided elsewhere.

    with work("evaluating", len(pictures)) as done:
        for batch in batches:
            ...
            done(len(batch))

The command line shows bars where a terminal is there (`edgecil.cli.bars`); without a watcher a
call costs next to nothing. Work may hold other work: a task holds its epochs.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

Done = Callable[[int], None]
"""Says that so many more pieces are done."""

Facts = Callable[[], str]
"""What else there is to tell, such as a loss; asked for only when it is shown."""


class Watcher(Protocol):
    """Who shows how far work is."""

    def watch(
        self, name: str, total: int | None, facts: Facts | None
    ) -> AbstractContextManager[Done]:
        """Work begins, and ends with the context.

        Args:
            name: what is done, in a word or two.
            total: of how many pieces; None where nobody knows.
            facts: what else to tell; None for nothing.
        """

    def beat(self) -> None:
        """Work goes on, though no piece of it is done."""


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
"""Threads have a context of their own, so that work in them is not shown beside the caller's."""


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Let `watcher` know of all work while the context lasts; None lets nobody."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


def is_watched() -> bool:
    """Whether anybody wants to know."""
    return _watcher.get() is not None


@contextmanager
def work(name: str, total: int | None = None, facts: Facts | None = None) -> Iterator[Done]:
    """Do some work, of which whoever watches is told; see `Watcher.watch`."""
    watcher = _watcher.get()
    if watcher is None:
        yield _to_nobody
        return
    with watcher.watch(name, total, facts) as done:
        yield done


def beat() -> None:
    """Say that work goes on: called now and then by what only waits."""
    if watcher := _watcher.get():
        watcher.beat()


def _to_nobody(_: int) -> None:
    """Nobody watches."""
