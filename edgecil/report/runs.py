"""Reads finished runs for a report; torch is not needed."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from edgecil.errors import RunError
from edgecil.evaluation.results import RunResults, read_object, read_results, refusing_damage
from edgecil.planning.protocols import PROTOCOLS
from edgecil.training.settings import RunSettings


@dataclass(frozen=True)
class SavedRun:
    """One finished run."""

    folder: Path
    """Where it is."""
    settings: RunSettings
    """What it was asked for."""
    results: RunResults
    """What it came to."""
    protocol: str | None
    """The protocol of its data and tasks, None if they are nobody's."""

    @property
    def task_sizes(self) -> tuple[int, ...]:
        """Classes of every task."""
        return tuple(len(task.classes) for task in self.settings.tasks)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in learning order."""
        return self.settings.classes

    @cached_property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Test images by true class (row) and predicted class (column); empty if not measured.

        Raises:
            RunError: confusion.csv is not a square of numbers of the run's classes.
        """
        path = self.folder / "confusion.csv"
        if not path.exists():
            return ()
        count = len(self.classes)
        try:
            with path.open(newline="") as file:
                rows = tuple(tuple(int(cell) for cell in row) for row in csv.reader(file))
        except ValueError:
            rows = ()
        if len(rows) != count or any(len(row) != count for row in rows):
            raise RunError(f"{path} is not a table of {count} x {count} numbers; remove it")
        return rows


@dataclass(frozen=True)
class Collection:
    """The runs of one report: same classes, same task sizes."""

    runs: tuple[SavedRun, ...]
    """At least one."""
    notes: tuple[str, ...]
    """What a reader should know: runs left out, cells that failed, runs of another edgecil."""

    @property
    def first(self) -> SavedRun:
        """One of them, for what they have in common."""
        return self.runs[0]


def read_runs(paths: Sequence[Path], *, finished_only: bool = False) -> Collection:
    """Read runs, given as their folders or as folders of such.

    Args:
        paths: folders of runs, or folders with folders of runs in them.
        finished_only: leave out unfinished runs instead of refusing them.

    Raises:
        RunError: a folder is no run, a run is unfinished or cannot be read, or two runs have
            different classes, tasks or pictures.
    """
    finished: list[SavedRun] = []
    unfinished: list[str] = []
    for folder in _run_folders(paths):
        run = _read(folder)
        total = run.settings.stage_count
        if run.results.learned == total:
            finished.append(run)
        else:
            unfinished.append(f"{folder} ({run.results.learned} of {total} tasks)")
            going_on = run.settings.going_on(folder, run.results.learned)
    if unfinished and not finished_only:
        raise RunError(
            f"unfinished: {', '.join(unfinished)}; finish with {going_on}, "
            "or leave them out with --finished-only"
        )
    if not finished:
        raise RunError(f"no run is finished: {', '.join(unfinished)}; finish one with {going_on}")
    _require_same_tasks(finished)
    notes = [f"Left out, unfinished: {', '.join(unfinished)}."] if unfinished else []
    notes += [note for run in finished for note in _coverage_notes(run)]
    return Collection(tuple(finished), (*notes, *_failures(paths), *_version_notes(finished)))


def _coverage_notes(run: SavedRun) -> list[str]:
    """What was measured over some classes only, or not at all."""
    stages = [str(k) for k, accuracy in enumerate(run.results.accuracies, 1) if accuracy is None]
    if not stages:
        return []
    return [
        f"{run.folder}: after task {', '.join(stages)} not all classes were measured, as the "
        "pictures of some were not there, or its result is lost; tables and curves are without "
        "these accuracies."
    ]


def _run_folders(paths: Iterable[Path]) -> list[Path]:
    """Each once, in the order given."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise RunError(f"{path} does not exist; give the folder of a run")
        inside = sorted(child.parent for child in path.glob("*/config.json"))
        here = [path] if (path / "config.json").exists() else inside
        if not here:
            raise RunError(f"{path} is no run, and has none in it; edgecil train makes one")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _failures(comparisons: Iterable[Path]) -> list[str]:
    """What a comparison could not run, as its comparison.json says.

    Raises:
        RunError: that is damaged.
    """
    found = []
    for path in comparisons:
        file = path / "comparison.json"
        if file.exists():
            cells = read_object(file).get("cells", [])
            with refusing_damage(file):
                found += [
                    f"Not run, {cell['name']}: {cell['reason']}."
                    if cell["status"] == "failed"
                    else f"Not finished, {cell['name']}: the same edgecil compare goes on with it."
                    for cell in cells
                    if cell["status"] != "finished"
                ]
    return found


def _read(folder: Path) -> SavedRun:
    results = read_results(folder)
    try:
        settings = RunSettings.load(folder / "config.json")
    except RunError as error:
        theirs, ours = results.versions.get("edgecil"), version("edgecil")
        if theirs in (None, ours):
            raise
        raise RunError(
            f"{folder} was written by edgecil {theirs}, which this edgecil {ours} cannot read; "
            f"make the report with edgecil {theirs}, or leave the run out"
        ) from error
    return SavedRun(folder, settings, results, _protocol_of(settings))


def _protocol_of(settings: RunSettings) -> str | None:
    """The name of the published protocol that a run follows, whether it was told to or not.

    One that was told to follows it no longer once it has learned tasks of its own beyond it.
    """
    sizes = tuple(len(task.classes) for task in settings.tasks)
    first, *others = settings.sources
    for name, protocol in PROTOCOLS.items():
        same_data = name == settings.protocol or first.data == protocol.images.data
        if same_data and sizes == protocol.task_sizes and not others:
            return name
    return None


def _require_same_tasks(runs: Sequence[SavedRun]) -> None:
    first, *others = runs
    for run in others:
        same = run.task_sizes == first.task_sizes and set(run.classes) == set(first.classes)
        if not same:
            raise RunError(
                f"{first.folder} learns {tasks_in_words(first)} and {run.folder} "
                f"{tasks_in_words(run)}; give each protocol a report of its own"
            )
    # A folder's split depends on the seed, and its fingerprint on both that and the size.
    seen: dict[tuple[object, ...], SavedRun] = {}
    for run in runs:
        sources = run.settings.sources
        split = (run.settings.seed, run.settings.image_size_px, *(s.holdout for s in sources))
        other = seen.setdefault(split, run)
        if {s.fingerprint for s in other.settings.sources} != {s.fingerprint for s in sources}:
            raise RunError(
                f"{other.folder} and {run.folder} learned from different pictures of the same "
                "classes; give each data set a report of its own"
            )


def tasks_in_words(run: SavedRun) -> str:
    """The tasks of a run: "cifar100 in 10 tasks of 10 classes"."""
    names = list(dict.fromkeys(Path(source.data).name for source in run.settings.sources))
    sizes = run.task_sizes
    first, later = sizes[0], set(sizes[1:])
    if later <= {first}:
        return f"{' + '.join(names)} in {len(sizes)} tasks of {first} classes"
    if len(later) == 1:
        return f"{' + '.join(names)} in tasks of {first} + {len(sizes) - 1} x {sizes[1]} classes"
    return f"{' + '.join(names)} in tasks of {', '.join(map(str, sizes))} classes"


def _version_notes(runs: Sequence[SavedRun]) -> list[str]:
    ours = version("edgecil")
    theirs: dict[str, list[str]] = {}
    for run in runs:
        name = run.results.versions.get("edgecil", "unknown")
        theirs.setdefault(name, []).append(str(run.folder))
    return [
        f"Trained by edgecil {name}, while this report is of edgecil {ours}: {', '.join(folders)}."
        for name, folders in theirs.items()
        if name != ours
    ]
