"""The plots of an analysis, as matplotlib figures. Pale is shallow or early, dark deep or late."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from edgecil.analysis.inspection import Inspection, Similarity
from edgecil.report.style import INK

WIDTH_IN = 6.0
"""Width of every figure."""

MAX_TICKS = 8
"""Most tasks that an axis of a matrix names."""

MAX_NUMBERED_STAGES = 6
"""Matrices of more stages show no numbers; they would not be readable."""


def gradients_plot(inspection: Inspection) -> Figure:
    """Gradient norm of every layer over the epochs of one task."""
    stage = inspection.shown_stage
    figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
    axes = figure.add_subplot(
        title=f"Gradient norm by layer, task {stage}", xlabel="epoch", ylabel="gradient norm (L2)"
    )
    rows = [row for row in inspection.gradients if row.stage == stage]
    layers = list(dict.fromkeys(row.layer for row in rows))
    for layer, colour in zip(layers, _shades(len(layers)), strict=True):
        mine = [row for row in rows if row.layer == layer]
        axes.plot(
            [row.epoch for row in mine],
            [row.norm for row in mine],
            color=colour,
            marker="o",
            markersize=3,
            label=layer,
        )
    _logarithmic(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(
        loc="outside lower center",
        ncols=10,
        handlelength=0.8,
        columnspacing=0.9,
        title="layer, shallow to deep",
    )
    return figure


def changes_plot(inspection: Inspection) -> Figure:
    """How far every layer went between the first and the last epoch of every stage."""
    figure = Figure(figsize=(WIDTH_IN, 6.4), layout="constrained")
    absolute, relative = figure.subplots(2, 1, sharex=True)
    absolute.set(title="Change from the first to the last epoch", ylabel="mean squared change")
    relative.set(ylabel="relative to the layer's weights", xlabel="layer, shallow to deep")
    names = [layer.name for layer in inspection.layers]
    stages = list(dict.fromkeys(change.stage for change in inspection.changes))
    for stage, colour in zip(stages, _shades(len(stages)), strict=True):
        mine = [change for change in inspection.changes if change.stage == stage]
        for axes, values in (
            (absolute, [change.mean_squared_change for change in mine]),
            (relative, [change.relative_change for change in mine]),
        ):
            # A frozen layer does not change; a logarithm has no place for that.
            shown = [value or math.nan for value in values]
            axes.plot(range(len(names)), shown, color=colour, marker="o", label=f"task {stage}")
    relative.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 0)
    for axes in (absolute, relative):
        _logarithmic(axes)
        _mark_cut(axes, inspection)
    handles, labels = absolute.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


def similarity_plot(inspection: Inspection, similarity: Similarity) -> Figure:
    """A matrix of stages by stages for every depth."""
    trunk = [layer.group for layer in inspection.layers if layer.in_trunk]
    count = len(similarity.by_depth)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 2.1 * rows), layout="constrained")
    figure.suptitle("Linear CKA between the networks after every task", fontsize=9.5, weight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[count:]:
        panel.set_axis_off()
    for panel, (depth, matrix) in zip(panels, similarity.by_depth.items(), strict=False):
        title = f"{depth} (trunk)" if trunk[-1:] == [depth] else depth
        _draw_matrix(panel, title, matrix, similarity.stages)
    bar = figure.colorbar(panels[0].collections[0], ax=list(panels), shrink=0.8, pad=0.02)
    bar.set_label("linear CKA")
    bar.outline.set_visible(False)
    return figure


def _draw_matrix(
    axes: Axes, title: str, matrix: Sequence[Sequence[float]], stages: Sequence[int]
) -> None:
    edges = np.arange(len(stages) + 1) - 0.5
    axes.pcolormesh(edges, edges, matrix, cmap="Blues", vmin=0, vmax=1, edgecolors="white")
    axes.set(title=title, xlabel="task", ylabel="task", aspect="equal")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    step = math.ceil(len(stages) / MAX_TICKS)
    axes.set_xticks(range(0, len(stages), step), map(str, stages[::step]))
    axes.set_yticks(range(0, len(stages), step), map(str, stages[::step]))
    if len(stages) > MAX_NUMBERED_STAGES:
        return
    for (row, column), value in np.ndenumerate(np.array(matrix)):
        colour = "white" if value > 0.6 else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, size=7)


def _mark_cut(axes: Axes, inspection: Inspection) -> None:
    """A line between the layers of the trunk and those of the block."""
    shared = sum(layer.in_trunk for layer in inspection.layers)
    if not shared:
        return
    axes.axvline(shared - 0.5, color=INK, linestyle=(0, (4, 2)), linewidth=1)
    for text, side, place in (("trunk ", "right", shared - 0.5), (" block", "left", shared - 0.5)):
        axes.text(place, 0.02, text, ha=side, transform=axes.get_xaxis_transform(), size=8)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True)


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    """Colours from pale to dark that differ in lightness, so that any eye can order them."""
    places = np.linspace(0.15, 0.95, count) if count > 1 else [0.7]
    return [mpl.colormaps["viridis_r"](place) for place in places]
