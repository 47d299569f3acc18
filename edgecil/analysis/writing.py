"""An analysis as files: numbers as CSV and JSON, plots as PNG and SVG."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

from edgecil.analysis.inspection import Inspection
from edgecil.analysis.plots import changes_plot, gradients_plot, similarity_plot
from edgecil.report.drawing import save
from edgecil.report.style import SETTINGS
from edgecil.training.history import GRADIENTS
from edgecil.training.run import versions
from edgecil_devices.files import replace_atomically

CHANGES = ("stage", "layer", "mean_squared_change", "relative_change")
"""Columns of changes.csv."""


def write_analysis(inspection: Inspection, folder: Path) -> None:
    """Write analysis.json, gradients.csv, changes.csv, similarity.csv and a plot of each.

    Args:
        inspection: what to write; gradients are drawn of one stage, their numbers are of all.
        folder: made if it is not there.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(to_dict(inspection), indent=1, allow_nan=False) + "\n"
    replace_atomically(folder / "analysis.json", content.encode())
    gradients = (vars(row).values() for row in inspection.gradients)
    _write_table(folder / "gradients.csv", GRADIENTS, gradients)
    changes = (vars(change).values() for change in inspection.changes)
    _write_table(folder / "changes.csv", CHANGES, changes)
    with mpl.rc_context(SETTINGS):
        save(gradients_plot(inspection), "gradients", "gradient norm by layer", folder)
        if any(change.mean_squared_change for change in inspection.changes):  # on a log scale
            save(changes_plot(inspection), "changes", "change by layer", folder)
        if similarity := inspection.similarity:
            save(similarity_plot(inspection, similarity), "similarity", "CKA between tasks", folder)
    if similarity:
        pairs = (
            (depth, first, second, matrix[i][j])
            for depth, matrix in similarity.by_depth.items()
            for i, first in enumerate(similarity.stages)
            for j, second in enumerate(similarity.stages)
        )
        _write_table(folder / "similarity.csv", ("depth", "stage", "other_stage", "cka"), pairs)


def to_dict(inspection: Inspection) -> dict[str, Any]:
    """The numbers in the form of JSON: gradients by stage, layer and epoch; nan as null."""
    gradients: dict[int, dict[str, list[float]]] = {}
    for row in inspection.gradients:
        gradients.setdefault(row.stage, {}).setdefault(row.layer, []).append(row.norm)
    changes: dict[int, dict[str, dict[str, float | None]]] = {}
    for change in inspection.changes:
        changes.setdefault(change.stage, {})[change.layer] = {
            "mean_squared": change.mean_squared_change,
            "relative": _or_null(change.relative_change),
        }
    settings = inspection.settings
    about = ("method", "backbone", "cut", "trunk", "seed", "recipe", "epochs", "first_epochs")
    similarity = inspection.similarity
    return {
        **{name: getattr(settings, name) for name in about},
        "task_sizes": [len(task.classes) for task in settings.tasks],
        "versions": versions(),
        "notes": inspection.notes,
        "layers": [asdict(layer) for layer in inspection.layers],
        "gradient_norms": gradients,
        "changes": changes,
        "similarity": similarity
        and asdict(similarity)
        | {"by_depth": {d: _with_null(matrix) for d, matrix in similarity.by_depth.items()}},
    }


def _with_null(matrix: Sequence[Sequence[float]]) -> list[list[float | None]]:
    return [[_or_null(value) for value in row] for row in matrix]


def _or_null(value: float) -> float | None:
    """What is no number, such as a change relative to nothing, is null or an empty cell."""
    return value if math.isfinite(value) else None


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(_cell(value) for value in row)
    replace_atomically(path, text.getvalue().encode())


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.6g}" if math.isfinite(value) else ""
