"""Reads the data files of published numbers."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

SAME_BUDGET = 0.01
"""How far a printed budget lies from the bytes that it stands for, at most, as a part of them."""


@dataclass(frozen=True, kw_only=True)
class PublishedAccuracy:
    """What a paper says a method came to at one budget."""

    protocol: str
    """Name of the protocol, such as cifar100-b0-inc10."""
    method: str
    """Name of the method, in lower case."""
    budget_mib: float | None = None
    """The budget as it is printed, in MiB; None where only the exemplars were fixed."""
    exemplars: int | None = None
    """The number of exemplars that was fixed instead of a budget."""
    average: float | None = None
    """Average incremental accuracy in percent, None where it is not given."""
    last: float
    """Accuracy after the last task in percent."""
    sessions: tuple[float, ...] = ()
    """Accuracy after every task in percent, empty where it is not given."""
    read_off_plot: bool = False
    """Whether it was read off a plot, to about +-0.3 point where it has tenths."""
    source: str
    """The paper, and where in it."""


@dataclass(frozen=True, kw_only=True)
class PublishedAreas:
    """What a paper says a method came to over all budgets of a protocol."""

    protocol: str
    """Name of the protocol."""
    method: str
    """Name of the method, in lower case."""
    auc_average: float
    """AUC-A: area under average incremental accuracy (a fraction) over the budget in MiB."""
    auc_last: float
    """AUC-L: the same of the last accuracy."""
    apm_start: float | None = None
    """APM-S: percent of average accuracy per MiB at the smallest budget."""
    apm_end: float | None = None
    """APM-E: the same at the largest budget."""
    source: str
    """The paper, and where in it."""


@cache
def published_accuracies(protocol: str) -> tuple[PublishedAccuracy, ...]:
    """Everything published for a protocol, what was printed before what was read off plots."""
    found = [*_of_tables(), *_of_curves()]
    found.sort(key=lambda entry: entry.read_off_plot)
    return tuple(entry for entry in found if entry.protocol == protocol)


def published_at(
    entries: Iterable[PublishedAccuracy], budget_mib: float
) -> list[PublishedAccuracy]:
    """What is published at a budget, one a method: the rule for what may stand beside ours.

    A number counts only where it was measured at the same bytes. The papers print their budgets cut
    or rounded: 16.0 for 16.124 MiB is furthest off, 0.8 %, so what is within 1 % is the same one.
    No two budgets of a protocol are that close. A wider rule would let a number stand at bytes that
    it was not measured at: 7.6 MB is 7.25 MiB, 5 % less than the 7.6 that the papers print. What
    lies between the budgets is to be seen on the curves, each at its own bytes.

    Args:
        entries: of one protocol; the first of a method wins, and `published_accuracies` has printed
            numbers before those read off plots.
        budget_mib: ours, exactly.
    """
    found: dict[str, PublishedAccuracy] = {}
    for entry in entries:
        if entry.budget_mib is not None and abs(entry.budget_mib / budget_mib - 1) < SAME_BUDGET:
            found.setdefault(entry.method, entry)
    return list(found.values())


@cache
def published_areas(protocol: str) -> tuple[PublishedAreas, ...]:
    """AUC and APM of a protocol."""
    return tuple(
        PublishedAreas(protocol=protocol, method=method, source=_source(group), **values)
        for group in _groups("areas.toml")
        if group["protocol"] == protocol
        for method, values in group["methods"].items()
    )


def _of_tables() -> list[PublishedAccuracy]:
    return [
        PublishedAccuracy(
            protocol=group["protocol"],
            method=method,
            budget_mib=group.get("budget_mib"),
            exemplars=group.get("exemplars"),
            read_off_plot=group.get("read_off_plot", False),
            source=_source(group),
            **values | {"sessions": tuple(values.get("sessions", ()))},
        )
        for group in _groups("tables.toml")
        for method, values in group["methods"].items()
    ]


def _of_curves() -> list[PublishedAccuracy]:
    return [
        PublishedAccuracy(
            protocol=group["protocol"],
            method=method,
            budget_mib=budget_mib,
            average=group["average"][method][at],
            last=last,
            read_off_plot=True,
            source=_source(group),
        )
        for group in _groups("curves.toml")
        for method, lasts in group["last"].items()
        for at, (budget_mib, last) in enumerate(zip(group["budgets_mib"], lasts, strict=True))
    ]


def _groups(file_name: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = _read(file_name)["group"]
    return groups


def _source(group: dict[str, Any]) -> str:
    return f"{_read('sources.toml')[group['source']]}, {group['place']}"


@cache
def _read(file_name: str) -> dict[str, Any]:
    return tomllib.loads(files("edgecil.published").joinpath(file_name).read_text("utf-8"))
