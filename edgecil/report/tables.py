"""Tables of bytes, settings, runs, and what was published."""

from collections.abc import Callable, Sequence
from html import escape
from statistics import mean

from edgecil.budget import BYTES_PER_MIB, format_bytes
from edgecil.evaluation.results import MergeResult
from edgecil.published import PublishedAccuracy
from edgecil.report.accuracy_tables import published_percent
from edgecil.report.cells import PER_RUN, Cell, values_of
from edgecil.report.html import NOTHING, Row, numbered, table
from edgecil.report.runs import SavedRun
from edgecil.report.style import OWNER_COLOURS, owned
from edgecil.words import duration_in_words, tasks_in_words


def bytes_table(cells: Sequence[Cell]) -> str:
    """Who owns the bytes of the state after the last task."""
    rows = []
    for cell in cells:
        stage = cell.runs[0].results.stages[-1]
        sizes = [f"{size / BYTES_PER_MIB:.3f}" for size in owned(stage.bytes_by_owner).values()]
        budget = cell.settings.budget_bytes
        rows.append(
            Row(
                [
                    escape(cell.label),
                    escape(cell.settings.backbone),
                    *sizes,
                    format_bytes(stage.state_bytes),
                    format_bytes(budget),
                    f"{100 * stage.state_bytes / budget:.1f}&#8239;%",
                    str(stage.exemplars),
                ]
            )
        )
    owners = [f"{owner}, MiB" for owner in OWNER_COLOURS]
    head = ["method", "network", *owners, "state", "budget", "filled", "exemplars"]
    caption = "Files of the state after the last task, of the first seed where there are several."
    return table(head, rows, caption)


def merges_table(cells: Sequence[Cell]) -> str:
    """Which blocks were merged before which task, and what became of the tasks before."""
    rows = [
        Row(
            [
                escape(cell.label),
                str(stage.stage),
                "; ".join(map(tasks_in_words, stage.merge.blocks)),
                *_means(stage.merge),
                " | ".join(map(tasks_in_words, stage.block_tasks or ())),
            ]
        )
        for cell in cells
        for stage in cell.runs[0].results.stages
        if stage.merge
    ]
    head = ["method", "before task", "merged", "accuracy before, %", "after, %", "blocks then"]
    caption = (
        "Blocks by the tasks that they stand for. Accuracies are means over the tasks before, at "
        "the end of the last of them and once the merged blocks were trained, without tasks that "
        "were not measured at both; of the first seed where there are several."
    )
    return table(head, rows, caption)


def _means(merge: MergeResult) -> list[str]:
    """Mean accuracies before and after a merge, over the tasks that were measured both times."""
    pairs = zip(merge.before, merge.after, strict=True)
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    return [f"{mean(side):.1f}" for side in zip(*known, strict=True)] or [NOTHING, NOTHING]


def settings_table(cells: Sequence[Cell]) -> tuple[dict[str, str], str]:
    """The settings that all cells share, and a table of those that differ."""
    hidden = PER_RUN - {"protocol"}
    asked = [values_of(cell.settings) for cell in cells]
    for one in asked:
        if one["images_a_task"] is not None:
            one["epochs"] = f"as many as show {one['images_a_task']:,} pictures a task"
        if one["first_epochs"] is None:
            one["first_epochs"] = one["epochs"]  # which are the first task's, too
    names = [name for name in asked[0] if name not in hidden]
    shared = [name for name in names if len({str(one[name]) for one in asked}) == 1]
    differing = [name for name in names if name not in shared and name != "method"]
    rows = [
        Row(
            [
                escape(cell.label),
                *(_setting(name, one[name]) for name in differing),
                escape(cell.seeds),
            ]
        )
        for cell, one in zip(cells, asked, strict=True)
    ]
    told = {_SETTING_NAMES.get(name, name): _setting(name, asked[0][name]) for name in shared}
    common = {name: value for name, value in told.items() if value != NOTHING}
    if len(cells) == 1:
        return common | {"seeds": escape(cells[0].seeds)}, ""
    head = ["method", *(_SETTING_NAMES.get(name, name) for name in differing), "seeds"]
    return common, table(head, rows, "Where they differ.")


def runs_table(runs: Sequence[SavedRun]) -> str:
    """Every run with its time, versions and hardware."""
    columns: dict[str, Callable[[SavedRun], object]] = {
        "run": lambda run: run.folder.name,
        "seed": lambda run: run.settings.seed,
        "training time": lambda run: duration_in_words(run.results.seconds),
        "edgecil": lambda run: run.results.versions.get("edgecil"),
        "Python": lambda run: run.results.versions.get("python"),
        "torch": lambda run: run.results.versions.get("torch"),
        "numpy": lambda run: run.results.versions.get("numpy"),
        "device": lambda run: run.results.hardware.get("gpu") or run.results.hardware.get("device"),
        "processor": lambda run: run.results.hardware.get("processor"),
        "cores": lambda run: run.results.hardware.get("cores"),
        "threads": lambda run: run.results.hardware.get("threads"),
    }
    rows = [
        Row(
            [
                NOTHING if (value := of(run)) is None else escape(str(value))
                for of in columns.values()
            ]
        )
        for run in runs
    ]
    return table(list(columns), rows, "Every run, what it took, and what it ran on.")


def most_confused(run: SavedRun) -> str:
    """The three pairs of classes that are confused most, in words."""
    pairs = [
        (100 * wrong / sum(row), run.classes[true], run.classes[predicted])
        for true, row in enumerate(run.confusion)
        for predicted, wrong in enumerate(row)
        if wrong and true != predicted
    ]
    told = [
        f"{escape(a)} as {escape(b)} {share:.0f}&#8239;%"
        for share, a, b in sorted(pairs, reverse=True)[:3]
    ]
    return f"Most confused: {', '.join(told)}." if told else "Nothing is confused."


def published_table(entries: Sequence[PublishedAccuracy]) -> tuple[str, str]:
    """Everything published for a protocol, and the list of its sources."""
    sources = list(dict.fromkeys(entry.source for entry in entries))
    rows = [
        Row(
            [
                escape(entry.method),
                f"{entry.budget_mib:g} MiB" if entry.budget_mib else f"{entry.exemplars} exemplars",
                published_percent(entry.average, entry),
                published_percent(entry.last, entry),
                f"[{sources.index(entry.source) + 1}]",
            ],
            "published",
        )
        for entry in entries
    ]
    caption = (
        "Published for this protocol, in percent. ≈ is read off a plot. A number of exemplars is "
        "what was fixed, whatever the network takes beside it."
    )
    head = ["method", "with", "average", "last", "source"]
    return table(head, rows, caption), numbered([escape(source) for source in sources])


def _setting(name: str, value: object) -> str:
    if value is None:
        return "the recipe's" if name in _RECIPE_SETTINGS else NOTHING
    if name == "budget_bytes" and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(str(value))


_SETTING_NAMES = {
    "image_size_px": "image size, px",
    "budget_bytes": "budget",
    "tasks_ahead": "tasks ahead",
    "first_epochs": "epochs of the first task",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "shorter_side_px": "shorter side of test pictures, px",
    "max_blocks": "blocks at most",
    "precision": "weights in the state",
    "codec": "exemplars as",
}
"""Settings whose names need words."""

_RECIPE_SETTINGS = {"epochs", "first_epochs", "learning_rate", "batch_size"}
