"""`edgecil compare`: a grid of runs, and one table of what they came to."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecil.cli.training_options import Device, StopAfter
from edgecil.cli.verbs import Fields
from edgecil.comparison.engine import Engine
from edgecil.errors import EdgecilError, UsageError
from edgecil.training.request import TrainRequest
from edgecil.work import work
from edgecil_devices.output import typed

if TYPE_CHECKING:
    from edgecil.comparison.comparison import Comparison, Standing
    from edgecil.comparison.processes import Event


def compare(
    *,
    methods: Annotated[str, typer.Option(help="Methods, separated by commas: memo,der,wa.")],
    budgets: Annotated[
        str,
        typer.Option(
            help="Budgets, separated by commas: 7.6MB,24684160; or published, the protocol's own."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")],
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "1993",
    asked: Annotated[dict[str, Any], Fields(TrainRequest, without=("method", "budget", "seed"))],
    device: Device = "auto",
    engine: Engine,
    published: Annotated[
        bool, typer.Option(help="Show the protocol's published numbers beside ours.")
    ] = False,
    stop_after: StopAfter = None,
) -> None:
    """Train every method under every budget with every seed; the same command goes on."""
    from edgecil.comparison.comparison import Comparison, sole_use
    from edgecil.comparison.grid import grid
    from edgecil.training.resolving import origin_of
    from edgecil.training.stopping import parse_duration

    protocol = asked["protocol"]
    chosen_methods, chosen_budgets = _listed(methods, "methods"), _budgets(budgets, protocol)
    if published and not protocol:
        raise UsageError("published numbers belong to a protocol; give --protocol")
    request = TrainRequest(**asked, method=chosen_methods[0], budget=chosen_budgets[0])
    chosen_seeds = [_seed(text) for text in _listed(seeds, "seeds")]
    cells = grid(request, chosen_methods, chosen_budgets, chosen_seeds, out, device)
    seconds = parse_duration(stop_after) if stop_after else None
    if not out.exists():
        origin_of(request)  # one that goes on may do without the file of --weights
    _require_data(request)
    with sole_use(out):
        comparison = Comparison(out, cells, protocol if published else None)
        _end(comparison, *_run(comparison, engine, seconds))


def _listed(text: str, what: str) -> list[str]:
    values = [word.strip() for word in text.split(",") if word.strip()]
    if not values:
        raise UsageError(f"--{what} is empty; give at least one, separated by commas")
    return values


def _budgets(text: str, protocol: str | None) -> list[str]:
    if text.strip() != "published":
        return _listed(text, "budgets")
    if protocol is None:
        raise UsageError("published budgets belong to a protocol; give --protocol")
    from edgecil.planning.protocols import protocol_named

    return [str(size) for size in protocol_named(protocol).budgets_bytes]


def _require_data(request: TrainRequest) -> None:
    """Say what is missing before any run does, and download once what several would."""
    from edgecil.data import is_here
    from edgecil.training.resolving import load_requested

    data = request.chosen_data
    if data is None or not is_here(data, request.data_dir):
        load_requested(request)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"cannot read {text!r} as a seed; write whole numbers such as 1993,1994")
    return int(text)


def _run(comparison: "Comparison", engine: Engine, seconds: float | None) -> tuple[int, str]:
    """Run what is not finished -> the exit code, and what stopped it if anything did."""
    from edgecil.comparison.comparison import FINISHED, WAITING
    from edgecil.comparison.outlook import Outlook
    from edgecil.training.stopping import EXIT_STOPPED, Stopped, stopping_on_signals

    stop_at = None if seconds is None else time.time() + seconds
    standings = comparison.standings.values()
    todo = [
        standing.cell.job(engine.threads, stop_at)
        for standing in standings
        if standing.status != FINISHED
    ]
    _say(f"{len(standings)} runs, {len(standings) - len(todo)} of them finished before")
    if engine.warning:
        _say(engine.warning)
    try:
        comparison.write_commands(engine.threads)
        outlook = Outlook(len(todo))
        with (
            stopping_on_signals(),
            work("comparing", len(todo), outlook.in_words) as done,
            closing(engine.run(todo)) as events,
        ):
            for event, standing in comparison.follow(events):
                _tell(event, standing)
                done(outlook.take(event.exit_code is not None))
        comparison.write()
    except Stopped as stopped:
        return stopped.exit_code, stopped.reason
    return (EXIT_STOPPED, "stopped by --stop-after") if comparison.with_status(WAITING) else (0, "")


def _tell(event: "Event", standing: "Standing") -> None:
    """One line for a cell that starts or has ended."""
    from edgecil.comparison.comparison import FAILED, FINISHED, linear_result

    if event.exit_code is None:
        _say(f"{event.name}  started")
    elif standing.status == FAILED:
        _say(f"{event.name}  failed: {standing.reason}")
    elif standing.status == FINISHED:
        result = linear_result(standing.cell)
        average, last = result.average_accuracy, result.last_accuracy
        accuracies = "not all classes were measured"
        if average is not None and last is not None:
            accuracies = f"{average:.2f} average, {last:.2f} last accuracy"
        _say(f"{event.name}  finished: {accuracies}, {result.seconds:.0f} s")
    else:
        _say(f"{event.name}  stopped")


def _end(comparison: "Comparison", exit_code: int, stopped_by: str) -> None:
    """The table, what failed, and the exit code."""
    from edgecil.comparison.comparison import FAILED
    from edgecil.comparison.render import table_lines

    if results := comparison.results():
        print("\n".join(table_lines(results, comparison.published)), flush=True)
    failed = comparison.with_status(FAILED)
    for standing in failed:
        _say(f"failed: {standing.cell.name}: {standing.reason}")
    if exit_code:
        _say(f"{stopped_by}; the same command goes on")
        raise typer.Exit(exit_code)
    if failed:
        raise EdgecilError(
            f"{len(failed)} of {len(comparison.standings)} runs failed; "
            "the same command tries them again, the others are kept"
        )
    print(f"next: edgecil report {typed(comparison.folder)} --out report.html")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
