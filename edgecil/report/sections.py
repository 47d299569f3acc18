"""What the sections of a report show, each as pieces of HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from edgecil.budget import BYTES_PER_MIB
from edgecil.published import PublishedAccuracy, published_accuracies, published_areas, published_at
from edgecil.report import accuracy_tables, plots, tables
from edgecil.report.cells import (
    Cell,
    Outcome,
    budget_title,
    cells_of,
    outcomes_of,
)
from edgecil.report.drawing import Picture
from edgecil.report.html import figure, figures, folded, paragraph
from edgecil.report.runs import Collection
from edgecil.report.style import Line

Draw = Callable[[str, str, Figure], Picture]
"""Saves a figure under a name, with a description, and gives it back for the page."""


@dataclass(frozen=True)
class Material:
    """Everything that the sections show."""

    collection: Collection
    """The runs."""
    cells: Sequence[Cell]
    """The same by setting."""
    outcomes: Sequence[Outcome]
    """The rows of the cells."""
    lines: Mapping[str, Line]
    """How each label is drawn."""
    published: Sequence[PublishedAccuracy]
    """Of the runs' protocol; empty where it has none."""

    @classmethod
    def of(cls, collection: Collection) -> "Material":
        """The material of runs."""
        cells = cells_of(collection.runs)
        outcomes = [outcome for cell in cells for outcome in outcomes_of(cell)]
        protocol = collection.first.protocol
        return cls(
            collection=collection,
            cells=cells,
            outcomes=outcomes,
            lines=plots.lines_of(outcomes),
            published=published_accuracies(protocol) if protocol else (),
        )

    @property
    def has_merges(self) -> bool:
        """Whether any run merged blocks."""
        return any(stage.merge for cell in self.cells for stage in cell.runs[0].results.stages)

    def by_budget(self) -> dict[float, list[Outcome]]:
        """The outcomes of every budget in MiB, smallest first."""
        budgets = sorted({cell.budget_mib for cell in self.cells})
        return {b: [o for o in self.outcomes if o.cell.budget_mib == b] for b in budgets}

    def title_of(self, budget_mib: float) -> str:
        """A budget as headings show it."""
        return budget_title(budget_mib, {cell.budget_mib for cell in self.cells})

    def series(self) -> list[list[Outcome]]:
        """The outcomes of every label, budgets ascending."""
        labels = dict.fromkeys(outcome.label for outcome in self.outcomes)
        return [[o for o in self.outcomes if o.label == label] for label in labels]


def accuracy(material: Material, draw: Draw) -> list[str]:
    """The papers' table and curves, budget by budget."""
    parts = []
    curves = []
    for budget, outcomes in material.by_budget().items():
        published = published_at(material.published, budget)
        if len(material.by_budget()) > 1:
            parts.append(f"<h3>{material.title_of(budget)}</h3>\n")
        parts.append(accuracy_tables.sessions_table(outcomes, published))
        plot = plots.sessions_plot(material.title_of(budget), outcomes, published, material.lines)
        told = f"Session accuracy over the classes learned, at {material.title_of(budget)}"
        curves.append(figure(draw(f"accuracy-{round(budget * BYTES_PER_MIB)}-bytes", told, plot)))
    return [*parts, figures(curves)]


def memory(material: Material, draw: Draw) -> list[str]:
    """The performance-memory curves, and the areas under them."""
    curve = [entry for entry in material.published if entry.read_off_plot and entry.average]
    several = [series for series in material.series() if len(series) > 1]
    if not several and not curve:
        if len(material.by_budget()) == 1:
            return [paragraph("All runs have one budget; runs at several make a curve.")]
        return [paragraph("No method has runs at several budgets that differ in nothing else.")]
    shown = []
    for which in ("average", "last"):
        plot = plots.memory_plot(
            f"{which.capitalize()} accuracy over the budget",
            material.outcomes,
            curve,
            material.lines,
            last=which == "last",
        )
        told = f"{which.capitalize()} accuracy over the budget in MiB"
        shown.append(figure(draw(f"memory-{which}", told, plot)))
    parts = [figures(shown)]
    if curve:
        parts.insert(0, paragraph(_PUBLISHED_BUDGETS))
    if several:
        protocol = material.collection.first.protocol
        labels = list(dict.fromkeys(f"{e.budget_mib:g}" for e in curve))
        areas = published_areas(protocol) if protocol else ()
        parts.append(accuracy_tables.areas_table(several, areas, ", ".join(labels)))
    return parts


_PUBLISHED_BUDGETS = (
    "Dashed curves are published, read off plots to about ±0.3 point. The papers count 4 bytes a "
    "parameter and one a colour value of an exemplar, and leave out the head; where a run's "
    "accounting is strict, its budget bounds every byte of every file that is kept."
)


def sizes(material: Material, draw: Draw) -> list[str]:
    """Who owns the bytes, after every task and after the last."""
    parts = [tables.bytes_table(material.cells)]
    if any(cell.settings.accounting == "published" for cell in material.cells):
        parts.append(
            paragraph(
                "Under published accounting the budget bounds parameters and raw pixels after the "
                "last task, not the files whose sizes are shown here."
            )
        )
    told = "Bytes of the state after every task"
    return [*parts, _for_each(material.cells, plots.bytes_plot, draw, "bytes", told)]


def blocks(material: Material, _draw: Draw) -> list[str]:
    """Which blocks were merged, and what that cost."""
    return [tables.merges_table(material.cells)]


def forgetting(material: Material, draw: Draw) -> list[str]:
    """Forgetting over the tasks, budget by budget."""
    shown = []
    for budget, outcomes in material.by_budget().items():
        plot = plots.forgetting_plot(material.title_of(budget), outcomes, material.lines)
        told = f"Forgetting after every task, at {material.title_of(budget)}"
        shown.append(figure(draw(f"forgetting-{round(budget * BYTES_PER_MIB)}-bytes", told, plot)))
    explained = (
        "How many points earlier tasks have lost, on average, since their best: after task k the "
        "mean over tasks i &lt; k of the highest accuracy of task i after any earlier task, less "
        "its accuracy now."
    )
    return [paragraph(explained), figures(shown)]


def by_task(material: Material, draw: Draw) -> list[str]:
    """Heat maps of accuracy by task."""
    explained = "Accuracy over the test images of each task, among all classes so far."
    if any(len(cell.runs) > 1 for cell in material.cells):
        explained += " Means over the seeds."
    told = "Accuracy of every task after every task"
    shown = _for_each(material.cells, plots.matrix_plot, draw, "tasks", told)
    return [paragraph(explained), shown]


def confusion(material: Material, draw: Draw) -> list[str]:
    """Heat maps of predictions by true class, where they were recorded."""
    measured = [cell for cell in material.cells if cell.runs[0].confusion]
    lacking = [cell.label for cell in material.cells if cell not in measured]
    parts = []
    if measured:
        explained = (
            "Test images of all classes after the last task: rows are true classes, columns "
            "predicted ones, both in learning order, with lines between tasks. A dark column "
            "is a class that draws predictions to itself."
        )
        shown = _for_each(
            measured,
            plots.confusion_plot,
            draw,
            "confusion",
            "Predictions by true class",
            lambda cell: tables.most_confused(cell.runs[0]),
        )
        parts = [paragraph(explained), shown]
    if lacking:
        names = ", ".join(map(escape, dict.fromkeys(lacking)))
        parts.append(paragraph(f"Not recorded by the runs of {names}: they have no confusion.csv."))
    return parts


def settings(material: Material, _draw: Draw) -> list[str]:
    """What all runs were asked for, and where they differ."""
    shared, differing = tables.settings_table(material.cells)
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in shared.items())
    title = "<h3>The same in all runs</h3>\n" if differing else ""
    return [title, f'<dl class="shared">{rows}</dl>\n', differing]


def runs(material: Material, _draw: Draw) -> list[str]:
    """Every run with what it ran on."""
    return [tables.runs_table(material.collection.runs)]


def published(material: Material, _draw: Draw) -> list[str]:
    """Everything published for the protocol, and where."""
    table, sources = tables.published_table(material.published)
    return [folded(f"{len(material.published)} numbers", table), sources]


def _for_each(
    cells: Sequence[Cell],
    plot: Callable[[Cell], Figure],
    draw: Draw,
    kind: str,
    told: str,
    caption: Callable[[Cell], str] = lambda cell: "",
) -> str:
    """The plot of every cell; of several budgets each folds, and the largest is open."""
    budgets = sorted({cell.budget_mib for cell in cells})
    parts = []
    for budget in budgets:
        shown = []
        for cell in cells:
            if cell.budget_mib == budget:
                picture = draw(f"{kind}-{slug_of(cell)}", f"{told}, {cell.label}", plot(cell))
                shown.append(figure(picture, caption(cell)))
        parts.append((budget_title(budget, budgets), figures(shown)))
    if len(parts) == 1:
        return parts[0][1]
    return "".join(
        folded(title, content, is_open=title == parts[-1][0]) for title, content in parts
    )


def slug_of(cell: Cell) -> str:
    """A cell's name in file names: label, backbone and budget in bytes tell all cells apart."""
    words = f"{cell.label}-{cell.settings.backbone}-{cell.settings.budget_bytes}"
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in words)
