"""What a script measured, row by row, so that it can be stopped and goes on where it was."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from edgecil.training.run import hardware, versions

Row = dict[str, Any]


def write_measured(file: Path, rows: list[Row], **about: Any) -> None:
    """Write rows as JSON, with processor and versions, and whatever else is told `about` them."""
    told = {"hardware": hardware(torch.device("cpu")), "versions": versions(), **about}
    text = json.dumps(told | {"rows": rows}, indent=1, allow_nan=False)
    file.write_text(f"{text}\n", "utf-8")


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
