"""A comparison's folder: one run folder and one log a cell, and what all of them came to.

CELL/               the run folder of a cell, such as memo-7998016-1993/
CELL.log            what it said, after the command that was run
commands.sh         the commands of all cells
comparison.csv      one line for each finished run
comparison.json     the same, with means over seeds, curves, and how every cell ended
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecil.comparison.grid import GridCell
from edgecil.comparison.processes import Event
from edgecil.comparison.render import to_csv, to_json
from edgecil.comparison.results import LINEAR, Result, results_of
from edgecil.errors import EdgecilError, RunError
from edgecil.training.stopping import EXIT_STOPPED
from edgecil_devices._json import json_object
from edgecil_devices.files import replace_atomically
from edgecil_devices.locks import LockHeldError, locked

FINISHED, FAILED, WAITING = "finished", "failed", "waiting"
"""How a cell stands; one that was stopped waits to be continued."""


@dataclass
class Standing:
    """How a cell stands."""

    cell: GridCell
    """Which."""
    status: str = WAITING
    """finished, failed or waiting."""
    reason: str = ""
    """Why it failed."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.cell.name,
            "status": self.status,
            "reason": self.reason,
            "arguments": list(self.cell.arguments),
        }


class Comparison:
    """The cells of a comparison and how they stand.

    A cell whose very command has finished before is not run again. One whose command has changed
    is: `edgecil train` says what differs, or finds that nothing does.

    Args:
        folder: where it is kept.
        cells: all cells.
        published_protocol: protocol whose published numbers are wanted, None for none.
    """

    def __init__(
        self, folder: Path, cells: Sequence[GridCell], published_protocol: str | None
    ) -> None:
        self.folder = folder
        self._json, self._csv = folder / "comparison.json", folder / "comparison.csv"
        self.published = published_protocol
        earlier = self._earlier()
        self.standings = {cell.name: Standing(cell) for cell in cells}
        for cell in cells:
            same = earlier.get(cell.name) == list(cell.arguments)
            if same and results_of(cell.folder):
                self.standings[cell.name].status = FINISHED

    def with_status(self, status: str) -> list[Standing]:
        """The cells that stand so."""
        return [standing for standing in self.standings.values() if standing.status == status]

    def results(self) -> list[Result]:
        """What the finished cells came to, in the order of the grid."""
        finished = self.with_status(FINISHED)
        return [result for standing in finished for result in results_of(standing.cell.folder)]

    def follow(self, events: Iterable[Event]) -> Iterator[tuple[Event, Standing]]:
        """Keep what every event says before handing it on."""
        for event in events:
            standing = self.standings[event.name]
            if event.exit_code is not None:
                standing.status, standing.reason = _ended(standing.cell, event)
                self.write()
            yield event, standing

    def write_commands(self, threads: int) -> None:
        """Write commands.sh: what runs each cell, for a person to copy and try alone."""
        cells = [standing.cell for standing in self.standings.values()]
        lines = [cell.job(threads, None).command for cell in cells]
        replace_atomically(self.folder / "commands.sh", ("\n".join(lines) + "\n").encode())

    def write(self) -> None:
        """Write comparison.csv and comparison.json anew.

        Raises:
            OSError: the disk is full; the old ones are untouched.
        """
        results = self.results()
        cells = [standing.to_dict() for standing in self.standings.values()]
        replace_atomically(self._csv, to_csv(results))
        replace_atomically(self._json, to_json(cells, results, self.published))

    def _earlier(self) -> dict[str, list[str]]:
        """The arguments of the cells that an earlier call has seen finished."""
        try:
            cells = json_object(self._json.read_bytes())["cells"]
            return {cell["name"]: cell["arguments"] for cell in cells if cell["status"] == FINISHED}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            return {}  # not ours or damaged: every cell is asked again, and this file written anew


def _ended(cell: GridCell, event: Event) -> tuple[str, str]:
    """What the end of a process makes of its cell: status and reason."""
    if event.exit_code == EXIT_STOPPED:
        return WAITING, ""
    if event.exit_code:
        return FAILED, event.reason
    try:
        results = results_of(cell.folder)
    except RunError as error:
        return FAILED, str(error)
    return (FINISHED, "") if results else (FAILED, f"{cell.folder} holds no finished run")


def linear_result(cell: GridCell) -> Result:
    """A finished cell's result with its head."""
    return next(result for result in results_of(cell.folder) if result.classifier == LINEAR)


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep a second comparison out of the folder, which is made if it is not there.

    Raises:
        RunError: another one is at work in it.
        EdgecilError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise EdgecilError(f"{folder} is a file; give another --out folder") from None
    try:
        with locked(folder / ".lock"):
            yield
    except LockHeldError as error:
        raise RunError(
            f"another edgecil compare ({error.holder}) is at work in {folder}; "
            "wait for it, or give another --out folder"
        ) from None
