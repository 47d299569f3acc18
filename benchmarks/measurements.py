"""What a script measured, row by row, so that it can be stopped and goes on where it was."""

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from edgecil.training.run import hardware, versions

Row = dict[str, Any]


def write_measured(file: Path, rows: list[Row], **about: Any) -> None:
    """Write rows as JSON, with processor and versions, and whatever else is told `about` them."""
    told = {"hardware": hardware(torch.device("cpu")), "versions": versions(), **about}
    text = json.dumps(told | {"rows": rows}, indent=1, allow_nan=False)
    file.write_text(f"{text}\n", "utf-8")


def table_of_means(
    rows: list[Row], about: Sequence[str], columns: Sequence[str], exact: Container[str] = ()
) -> Iterator[str]:
    """Markdown: one line for rows that are alike in `about`, and how many they are.

    Args:
        rows: with all these names; None stands for nothing to measure.
        about: what tells the lines apart.
        columns: what the means are of.
        exact: those of the columns that have two decimals; the others have none.
    """
    names = (*about, "n", *columns)
    yield f"| {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield "|---" * len(names) + "|"
    for kind in dict.fromkeys(tuple(row[name] for name in about) for row in rows):
        alike = [row for row in rows if tuple(row[name] for name in about) == kind]
        cells = [*kind, len(alike)]
        for name in columns:
            there = [row[name] for row in alike if row[name] is not None]
            cells.append(f"{mean(there):,.{2 if name in exact else 0}f}" if there else "-")
        yield f"| {' | '.join(map(str, cells))} |"


class Measurements:
    """The rows of `NAME.json`, and the table of them in `NAME.md`.

    Args:
        folder: where both lie; made if it is not there.
        name: the script's.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.json"

    @property
    def rows(self) -> list[Row]:
        """All rows so far, those that another process has added meanwhile included."""
        if not self._file.exists():
            return []
        found: list[Row] = json.loads(self._file.read_text("utf-8"))["rows"]
        return found

    def has(self, about: Mapping[str, Any]) -> bool:
        """Whether there is a row of this, measured or failed."""
        return any(about.items() <= row.items() for row in self.rows)

    def add(self, *rows: Row) -> None:
        """Keep rows, with processor and versions beside them."""
        for row in rows:
            print(row, flush=True)
        write_measured(self._file, [*self.rows, *rows])

    def write_table(self, about: str, table: Callable[[list[Row]], Iterator[str]]) -> None:
        """Print the table and write it, under a line or two that say what its figures are."""
        lines = "\n".join(table(self.rows))
        print(lines)
        text = "\n\n".join(filter(None, (about, lines)))
        self._file.with_suffix(".md").write_text(f"{text}\n", "utf-8")
