"""A comparison as a text table, a CSV file and a JSON file."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from importlib.metadata import version
from typing import Any

from edgecil.budget import BYTES_PER_MIB
from edgecil.comparison.results import NEAREST_MEAN, Result
from edgecil.comparison.table import Curve, Row, curves_of, rows_of
from edgecil.evaluation.measures import Spread
from edgecil.published import (
    PublishedAccuracy,
    PublishedAreas,
    published_accuracies,
    published_areas,
    published_at,
)

COLUMNS = (
    *("method", "backbone", "budget", "seeds", "average", "last", "forgetting"),
    *("exemplars", "state bytes", "seconds"),
)
"""Of the table; accuracies in percent, forgetting in points."""

AREA_COLUMNS = ("method", "AUC-A", "AUC-L", "APM-S", "APM-E")
"""Of the second table: areas in accuracy (a fraction) times MiB, and percent per MiB."""


def table_lines(results: Sequence[Result], published_protocol: str | None) -> list[str]:
    """The tables that end a comparison, with published numbers if a protocol is named."""
    rows = rows_of(results)
    known = published_accuracies(published_protocol) if published_protocol else ()
    cells = []
    for row in rows:
        cells.append(_row_cells(row))
        if found := _published_for(row, known):
            cells.append(_published_cells(found))
    lines = _aligned(COLUMNS, cells)
    if curves := curves_of(rows):
        areas = published_areas(published_protocol) if published_protocol else ()
        lines += ["", *_aligned(AREA_COLUMNS, _area_cells(curves, areas))]
        if areas:
            mibs = dict.fromkeys(f"{e.budget_mib:g}" for e in known if e.read_off_plot)
            lines += [
                "",
                f"published areas lie over {', '.join(mibs)} MiB; areas compare over the same only",
            ]
    if published_protocol:
        lines += ["", "~ read off a plot, to about 0.3 points"]
    return lines


def _published_for(row: Row, known: Sequence[PublishedAccuracy]) -> PublishedAccuracy | None:
    """What is published for a row's method at its budget."""
    at_budget = published_at(known, row.budget_bytes / BYTES_PER_MIB)
    return next((entry for entry in at_budget if entry.method == row.method), None)


def to_csv(results: Sequence[Result]) -> bytes:
    """One line for each run and classifier; numbers are not rounded."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([field.name for field in fields(Result)])
    writer.writerows(astuple(result) for result in results)
    return text.getvalue().encode()


def to_json(
    cells: Sequence[dict[str, Any]], results: Sequence[Result], published_protocol: str | None
) -> bytes:
    """Cells with their commands and how they ended, results, rows over seeds, and curves."""
    rows = rows_of(results)
    known = published_accuracies(published_protocol) if published_protocol else ()
    content = {
        "edgecil": version("edgecil"),
        "cells": cells,
        "results": [asdict(result) for result in results],
        "rows": [asdict(row) | _published(row, known) for row in rows],
        "curves": [_flat(curve) for curve in curves_of(rows)],
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _published(row: Row, known: Sequence[PublishedAccuracy]) -> dict[str, Any]:
    found = _published_for(row, known)
    return {"published": asdict(found)} if found else {}


def _flat(curve: Curve) -> dict[str, Any]:
    """A curve with its areas beside its other fields."""
    told = asdict(curve)
    areas: dict[str, Any] = told.pop("areas")
    return told | areas


def _row_cells(row: Row) -> list[str]:
    return [
        row.label,
        row.backbone,
        str(row.budget_bytes),
        str(row.exemplars.count),
        _spread(row.average_accuracy, 2),
        _spread(row.last_accuracy, 2),
        _spread(row.forgetting, 2),
        _spread(row.exemplars, 0),
        _spread(row.state_bytes, 0),
        _spread(row.seconds, 0),
    ]


def _published_cells(entry: PublishedAccuracy) -> list[str]:
    mark = "~" if entry.read_off_plot else ""
    average = "-" if entry.average is None else f"{mark}{entry.average:.2f}"
    budget = f"{entry.budget_mib} MiB"
    return ["  published", "", budget, "", average, f"{mark}{entry.last:.2f}", "", "", "", ""]


def _area_cells(curves: Sequence[Curve], areas: Sequence[PublishedAreas]) -> list[list[str]]:
    published = {entry.method: entry for entry in areas}
    cells = []
    for curve in curves:
        cells.append([curve.label, *(f"{number:.3f}" for number in astuple(curve.areas))])
        entry = published.get(curve.method)
        if entry and curve.classifier != NEAREST_MEAN:
            theirs = (entry.auc_average, entry.auc_last, entry.apm_start, entry.apm_end)
            cells.append(["  published", *("-" if n is None else f"{n:.3f}" for n in theirs)])
    return cells


def _spread(spread: Spread | None, decimals: int) -> str:
    if spread is None:
        return "-"
    if spread.deviation is None:
        return f"{spread.mean:.{decimals}f}"
    return f"{spread.mean:.{decimals}f} +- {spread.deviation:.{decimals}f}"


def _aligned(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest entry: the first to the left, the others to the right."""
    table = [columns, *cells]
    widths = [max(len(line[c]) for line in table) for c in range(len(columns))]
    return [
        "  ".join(
            entry.rjust(width) if c else entry.ljust(width)
            for c, (entry, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
