"""Which classes come in which task.

Either an order drawn by a seed and cut into increments, as in the published comparisons, or a file:

    # tasks.toml: the first table is the first task; classes that no table names are left out
    [[task]]
    classes = ["cat", "dog"]

    [[task]]
    classes = ["horse"]
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecil.errors import DataError, UsageError
from edgecil_devices.class_names import composed


@dataclass(frozen=True)
class Task:
    """Classes that are learned together."""

    index: int
    """Number of the task; the first is 0."""
    classes: tuple[int, ...]
    """Indices into the data set's classes, in learning order."""


@dataclass(frozen=True)
class Scenario:
    """The tasks in the order in which they come."""

    tasks: tuple[Task, ...]
    """At least one task, each with at least one class, and no class twice."""

    @property
    def class_order(self) -> tuple[int, ...]:
        """Indices into the data set's classes in the order in which they are learned."""
        return tuple(label for task in self.tasks for label in task.classes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each task."""
        return tuple(len(task.classes) for task in self.tasks)


def class_increments(class_count: int, base: int | None, increment: int, seed: int) -> Scenario:
    """Shuffle the classes by a seed and cut them into tasks.

    The order is that of NumPy's legacy generator, which the published class orders come from; with
    seed 1993 and 100 classes it begins 68, 56, 78, 8, 23.

    Args:
        class_count: number of classes in the data set.
        base: classes of the first task ("B50"); None or 0 means as many as in the others ("B0").
        increment: classes of each further task ("Inc10"). The last task takes what is left.
        seed: 0 to 2**32 - 1.

    Raises:
        UsageError: base or increment are out of range.
    """
    if not 1 <= increment <= class_count:
        raise UsageError(
            f"an increment of {increment} classes is not possible with {class_count} classes; "
            f"give 1 to {class_count}"
        )
    first = base or increment
    if not 1 <= first <= class_count:
        raise UsageError(
            f"a base of {first} classes is not possible with {class_count} classes; "
            f"give 0 (as many as the increment) to {class_count}"
        )
    order = np.random.RandomState(seed).permutation(class_count).tolist()
    starts = [0, *range(first, class_count, increment)]
    ends = [*starts[1:], class_count]
    cuts = zip(starts, ends, strict=True)
    return Scenario(tuple(Task(i, tuple(order[a:b])) for i, (a, b) in enumerate(cuts)))


def read_tasks(path: Path, classes: Sequence[str]) -> Scenario:
    """Read the tasks from a TOML file; the module's docstring shows one.

    Args:
        path: the file.
        classes: names of the data set's classes.

    Raises:
        DataError: the file cannot be read, a task is empty, or a class is unknown or named twice.
    """
    labels = {composed(name): label for label, name in enumerate(classes)}
    task_of: dict[str, int] = {}
    tasks = []
    for index, names in enumerate(_task_tables(path)):
        number = index + 1
        for name in names:
            if name not in labels:
                raise DataError(_unknown(path, name, number, classes))
            if name in task_of:
                raise DataError(
                    f"{path}: class {name!r} is in task {task_of[name]} and again in task {number};"
                    " a class is learned once, take it out of one"
                )
            task_of[name] = number
        tasks.append(Task(index, tuple(labels[name] for name in names)))
    return Scenario(tuple(tasks))


def _unknown(path: Path, name: str, number: int, classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    return f"{path}: task {number} names {name!r}, which is no class of the data; there are {shown}"


def _task_tables(path: Path) -> list[list[str]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check --tasks") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: this is not TOML, which is UTF-8; save it as such") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: this is not TOML ({error}); put it right there") from None
    example = '[[task]] and below it classes = ["cat", "dog"]'
    tables = document.pop("task", None)
    if document:
        raise DataError(f"{path}: unknown entry {next(iter(document))!r}; write only {example}")
    if not isinstance(tables, list) or not tables:
        raise DataError(f"{path}: there are no tasks; write for each {example}")
    return [_class_names(path, number, table) for number, table in enumerate(tables, start=1)]


def _class_names(path: Path, number: int, table: Any) -> list[str]:
    if not isinstance(table, dict) or set(table) - {"classes"}:
        raise DataError(f"{path}: task {number} may have nothing but classes = [...]")
    names = table.get("classes")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: task {number} needs classes = [...] with names in quotes")
    if not names:
        raise DataError(f"{path}: task {number} is empty; name its classes or delete the task")
    return [composed(name) for name in names]
