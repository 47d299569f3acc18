"""The page of a report: what stands at its top, and its sections under each other."""

from collections.abc import Sequence
from datetime import date
from html import escape
from importlib.metadata import version
from importlib.resources import files
from operator import itemgetter

from edgecil.published import PublishedAccuracy, published_at
from edgecil.report import sections
from edgecil.report.accuracy_tables import published_percent
from edgecil.report.cells import Outcome
from edgecil.report.html import listed, section
from edgecil.report.runs import Collection, tasks_in_words
from edgecil.report.sections import Draw, Material

SECTIONS = {
    "accuracy": ("Accuracy", sections.accuracy),
    "memory": ("Accuracy and memory", sections.memory),
    "bytes": ("Bytes", sections.sizes),
    "blocks": ("Merged blocks", sections.blocks),
    "forgetting": ("Forgetting", sections.forgetting),
    "tasks": ("Accuracy by task", sections.by_task),
    "confusion": ("Confusion", sections.confusion),
    "settings": ("Settings", sections.settings),
    "runs": ("Runs, versions, hardware", sections.runs),
    "published": ("Published numbers", sections.published),
}
"""Title and content of every section, by the name that links point to."""


def page(collection: Collection, draw: Draw) -> str:
    """The whole page as one HTML text that needs no other file.

    Args:
        collection: the runs.
        draw: saves the plots.

    Raises:
        RunError: a run's confusion.csv cannot be read.
        OSError: a plot cannot be written.
    """
    material = Material.of(collection)
    empty = {"blocks": not material.has_merges, "published": not material.published}
    shown = {name: titled for name, titled in SECTIONS.items() if not empty.get(name)}
    body = "".join(
        section(name, title, *parts(material, draw)) for name, (title, parts) in shown.items()
    )
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in shown.items())
    title = escape(f"Learning {tasks_in_words(collection.first)}")
    css = files("edgecil.report").joinpath("page.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{_lead(material)}</p>
{listed(_findings(material), "findings")}{_notes(collection)}<nav>{links}</nav>
</header>
<main>
{body}</main>
<footer>Made by edgecil {version("edgecil")} on {date.today().isoformat()}.</footer>
</body>
</html>
"""


def _lead(material: Material) -> str:
    runs = material.collection.runs
    methods = list(dict.fromkeys(cell.settings.method for cell in material.cells))
    seeds = sorted({run.settings.seed for run in runs})
    budgets = [material.title_of(budget) for budget in material.by_budget()]
    protocol = material.collection.first.protocol
    return (
        "Class-incremental learning, model and exemplars together under a byte budget. "
        f"{len(runs)} run{'s' if len(runs) > 1 else ''} of {_and(methods)} under {_and(budgets)}, "
        f"seed{'s' if len(seeds) > 1 else ''} {_and(list(map(str, seeds)))}"
        f"{f', protocol {escape(protocol)}' if protocol else ''}."
    )


def _and(words: Sequence[str]) -> str:
    *others, last = map(escape, words)
    return f"{', '.join(others)} and {last}" if others else last


def _findings(material: Material) -> list[str]:
    """One sentence a budget: who comes out best, and what was published for it."""
    found = []
    for budget, outcomes in material.by_budget().items():
        rivals = [outcome for outcome in outcomes if not outcome.is_ceiling] or outcomes
        averages = [(o.average.mean, o) for o in rivals if o.average]
        lasts = [(o.last.mean, o) for o in rivals if o.last]
        if not averages or not lasts:
            continue  # not all classes were measured
        average_percent, best = max(averages, key=itemgetter(0))
        last_percent, last = max(lasts, key=itemgetter(0))
        is_best = f"is best of {len(averages)} with" if len(averages) > 1 else "has"
        told = (
            f"<b>{material.title_of(budget)}</b>: {escape(best.label)} {is_best} "
            f"{average_percent:.2f}&#8239;% average incremental accuracy"
        )
        if best is last:
            told += f" and {last_percent:.2f}&#8239;% after the last task."
        else:
            told += f"; after the last task {escape(last.label)} with {last_percent:.2f}&#8239;%."
        found.append(told + _published_finding(best, published_at(material.published, budget)))
    return found


def _published_finding(best: Outcome, published: Sequence[PublishedAccuracy]) -> str:
    """What the papers have for the same method at the same budget."""
    for entry in published:
        if entry.method == best.cell.settings.method and entry.average is not None:
            average = published_percent(entry.average, entry)
            last = published_percent(entry.last, entry)
            return (
                f" Published for {escape(entry.method)} at {entry.budget_mib:g} MiB: {average} "
                f"and {last}."
            )
    return ""


def _notes(collection: Collection) -> str:
    notes = [escape(note) for note in collection.notes]
    return listed(notes, "notes") if notes else ""
