"""The plots of a report, as matplotlib figures; each is one panel that a phone can show.

K tasks, C classes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from edgecil.budget import BYTES_PER_MIB
from edgecil.evaluation.measures import Spread
from edgecil.published import PublishedAccuracy
from edgecil.report.cells import Cell, Outcome, mib
from edgecil.report.style import FAINT, INK, OWNER_COLOURS, Line, line_of, owned

WIDTH_IN = 4.6
"""Width of every figure: text of 9 points is still readable when a phone shows it."""

LEGEND_ROW_IN = 0.17
"""What a row of the legend adds to the height, so that the panel keeps its own."""

MAX_NUMBERED_TASKS = 12
"""Heat maps of more tasks show no numbers; they would not be readable."""


def lines_of(outcomes: Sequence[Outcome]) -> dict[str, Line]:
    """The line of every label; labels of one method differ in their dashes."""
    seen: dict[str, list[str]] = {}
    for outcome in outcomes:
        labels = seen.setdefault(outcome.cell.settings.method, [])
        if outcome.label not in labels:
            labels.append(outcome.label)
    return {
        label: line_of(method, variant)
        for method, labels in seen.items()
        for variant, label in enumerate(labels)
    }


def sessions_plot(
    title: str,
    outcomes: Sequence[Outcome],
    published: Sequence[PublishedAccuracy],
    lines: Mapping[str, Line],
) -> Figure:
    """Session accuracy over the classes learned, deviations shaded, published ones dashed."""
    figure, axes = _panel(title, "classes learned", "accuracy, %")
    classes = [*accumulate(outcomes[0].cell.runs[0].task_sizes)]
    for entry in published:
        if len(entry.sessions) == len(classes):
            axes.plot(classes, entry.sessions, **line_of(entry.method).drawn_as_published())
    for outcome in outcomes:
        means = [_mean(session) for session in outcome.sessions]
        line = lines[outcome.label]
        axes.plot(classes, means, label=outcome.label, **line.drawn())
        _shade(axes, classes, outcome, line)
    dashed = any(len(entry.sessions) == len(classes) for entry in published)
    _legend(figure, axes, published=dashed)
    return figure


def forgetting_plot(title: str, outcomes: Sequence[Outcome], lines: Mapping[str, Line]) -> Figure:
    """Forgetting over the tasks, in points."""
    figure, axes = _panel(title, "tasks learned", "forgetting, points")
    for outcome in outcomes:
        if outcome.forgetting:
            means = [_mean(spread) for spread in outcome.forgetting]
            tasks = range(1, len(means) + 1)
            axes.plot(tasks, means, label=outcome.label, **lines[outcome.label].drawn())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _legend(figure, axes, published=False)
    return figure


def memory_plot(
    title: str,
    outcomes: Sequence[Outcome],
    published: Sequence[PublishedAccuracy],
    lines: Mapping[str, Line],
    *,
    last: bool,
) -> Figure:
    """Average or last accuracy over the budget, published curves dashed.

    Args:
        title: above the panel.
        outcomes: of all budgets.
        published: points of published curves.
        lines: by label.
        last: the last accuracy, not the average.
    """
    figure, axes = _panel(title, "budget, MiB", f"{'last' if last else 'average'} accuracy, %")
    for method in dict.fromkeys(entry.method for entry in published):
        points = [
            (entry.budget_mib, accuracy)
            for entry in published
            if entry.method == method
            and entry.budget_mib is not None
            and (accuracy := entry.last if last else entry.average) is not None
        ]
        axes.plot(*zip(*sorted(points), strict=True), **line_of(method).drawn_as_published())
    for label in dict.fromkeys(outcome.label for outcome in outcomes):
        chosen = [outcome for outcome in outcomes if outcome.label == label]
        spreads = [outcome.last if last else outcome.average for outcome in chosen]
        mibs = [outcome.cell.budget_mib for outcome in chosen]
        means = [_mean(spread) for spread in spreads]
        deviations = [_deviation(spread) for spread in spreads]
        axes.plot(mibs, means, label=label, **lines[label].drawn())
        if any(deviations):
            axes.errorbar(mibs, means, deviations, capsize=2, fmt="none", color=lines[label].colour)
    measured = {outcome.cell.settings.method for outcome in outcomes}
    others = dict.fromkeys(e.method for e in published if e.method not in measured)
    for method in others:
        axes.plot([], [], label=f"{method}, published", **line_of(method).drawn_as_published())
    _legend(figure, axes, published=any(e.method in measured for e in published))
    return figure


def bytes_plot(cell: Cell) -> Figure:
    """Bytes of the state after every task, stacked by owner, against the budget."""
    figure, axes = _panel(_cell_title(cell), "tasks learned", "state, MiB")
    stages = cell.runs[0].results.stages
    tasks = [stage.stage for stage in stages]
    bottom = np.zeros(len(tasks))
    for owner, colour in OWNER_COLOURS.items():
        sizes = [owned(stage.bytes_by_owner)[owner] / BYTES_PER_MIB for stage in stages]
        axes.bar(
            tasks, sizes, 0.82, bottom, color=colour, label=owner, edgecolor="white", linewidth=0.4
        )
        bottom += sizes
    axes.axhline(cell.budget_mib, color=INK, linestyle=(0, (4, 2)), linewidth=1.3, label="budget")
    axes.set_ylim(0, 1.08 * max(cell.budget_mib, *bottom))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    _legend(figure, axes, published=False)
    return figure


def matrix_plot(cell: Cell) -> Figure:
    """Heat map of the accuracy of every task (column) after every task (row)."""
    count = len(cell.matrix)
    values = np.full((count, count), np.nan)
    for k, row in enumerate(cell.matrix):
        values[k, : len(row)] = [np.nan if value is None else value for value in row]
    figure, axes = _panel(_cell_title(cell), "test images of task", "after task", height_in=3.7)
    edges = np.arange(count + 1) + 0.5
    image = axes.pcolormesh(
        edges, edges, values, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.6
    )
    if count <= MAX_NUMBERED_TASKS:
        for (k, i), value in np.ndenumerate(values):
            if not np.isnan(value):
                colour = "white" if value > 60 else INK
                axes.text(
                    i + 1, k + 1, f"{value:.0f}", ha="center", va="center", color=colour, size=7
                )
    axes.invert_yaxis()
    _square(figure, axes, image, "accuracy, %")
    return figure


def confusion_plot(cell: Cell) -> Figure:
    """Heat map of predictions by true class, after the last task; rows add up to 100 %."""
    run = cell.runs[0]
    counts = np.array(run.confusion, dtype=np.float64)  # (C, C)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = f"{_cell_title(cell)}, seed {run.settings.seed}"
    figure, axes = _panel(title, "predicted class, in learning order", "true class", height_in=3.7)
    # The square root of the share: single confusions of a few per cent stay visible.
    image = axes.imshow(
        shares, cmap="Blues", norm=mpl.colors.PowerNorm(0.5, 0, 100), interpolation="none"
    )
    for end in np.cumsum(run.task_sizes)[:-1]:
        axes.axhline(end - 0.5, color=FAINT, linewidth=0.5)
        axes.axvline(end - 0.5, color=FAINT, linewidth=0.5)
    _square(figure, axes, image, "% of the true class")
    return figure


def _mean(spread: Spread | None) -> float:
    """What is drawn: a gap where nothing was measured."""
    return math.nan if spread is None else spread.mean


def _deviation(spread: Spread | None) -> float:
    return (spread.deviation if spread else None) or 0.0


def _panel(title: str, x_label: str, y_label: str, height_in: float = 2.9) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(visible=True)
    return figure, axes


def _cell_title(cell: Cell) -> str:
    return f"{cell.label}, {mib(cell.budget_mib)} MiB"


def _shade(axes: Axes, classes: Sequence[int], outcome: Outcome, line: Line) -> None:
    if len(outcome.cell.runs) == 1:
        return
    low = [_mean(session) - _deviation(session) for session in outcome.sessions]
    high = [_mean(session) + _deviation(session) for session in outcome.sessions]
    axes.fill_between(classes, low, high, color=line.colour, alpha=0.15, linewidth=0)


def _legend(figure: Figure, axes: Axes, *, published: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if published:
        dashed = line_of("").drawn_as_published() | {"color": INK, "marker": ""}
        handles.append(Line2D([], [], **dashed))
        labels.append("dashed: published")
    columns = 2 if max(map(len, labels), default=0) > 14 else 3
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.2)


def _square(figure: Figure, axes: Axes, image: mpl.cm.ScalarMappable, label: str) -> None:
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
