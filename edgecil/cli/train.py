"""`edgecil train`: learn a data set task after task under a byte budget."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.cli.latency import Bench, Latency, milliseconds, most_blocks, require_possible
from edgecil.cli.training_options import Device, StopAfter
from edgecil.training.request import TrainRequest
from edgecil_devices.options import words_of
from edgecil_devices.output import typed

if TYPE_CHECKING:
    from edgecil.evaluation.results import StageResult

RUNS = Path("runs")
"""Where runs go that are given no folder."""


def train(
    request: TrainRequest,
    device: Device = "auto",
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="runs/train, runs/train-2 ..."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in the folder, if there is one.")
    ] = False,
    keep_history: Annotated[
        bool,
        typer.Option(
            "--keep-history",
            help="Record in RUN/history what edgecil analyse shows: weights and gradients of every "
            "task. The budget does not count it; a resumed run goes on with it.",
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write curves into RUN/tensorboard, with the extra of that name.",
        ),
    ] = False,
    stop_after: StopAfter = None,
    latency: Latency = None,
    bench: Bench = None,
) -> None:
    """Learn a data set task after task; what is kept never exceeds the budget."""
    from edgecil.cli.progress import TerminalReporter
    from edgecil.team import team
    from edgecil.training.api import train as learn
    from edgecil.training.reporters import Reporter, Together
    from edgecil.training.run import latest_run_folder, next_run_folder
    from edgecil.training.stopping import Stopped, parse_duration, stopping_on_signals

    stop_after_seconds = parse_duration(stop_after) if stop_after else None
    folder = run or (latest_run_folder(RUNS) if resume else next_run_folder(RUNS))
    require_possible(request, latency, bench)
    more = ["--latency", latency, *(["--bench", str(bench)] if bench else [])] if latency else []
    more += ["--tensorboard"] if tensorboard else []
    going_on = _going_on(request, more, folder, device, stop_after)
    reporters: list[Reporter] = [TerminalReporter(going_on)]
    if tensorboard:
        from edgecil.training.tensorboard import TensorBoardReporter

        reporters.append(TensorBoardReporter())
    try:
        with stopping_on_signals():
            results = learn(
                request,
                folder,
                device=device,
                resume=resume,
                keep_history=keep_history,
                stop_after_seconds=stop_after_seconds,
                latency_ms=milliseconds(latency) if latency else None,
                most_blocks=partial(most_blocks, latency, bench=bench) if latency else None,
                reporter=Together(*reporters),
            )
    except Stopped as stopped:
        remedy = _remedy(folder, named=run is not None)
        raise Stopped(stopped.reason, stopped.exit_code, remedy) from None
    if team().leads:
        say_results(folder, results)


def _going_on(
    request: TrainRequest, more: list[str], folder: Path, device: str, stop_after: str | None
) -> str:
    """The command that begins this run or goes on with it, and stops it after a while.

    Args:
        request: as it was given.
        more: words of what was given beside it.
        folder: of the run.
        device: where it trains.
        stop_after: the while; None for an hour.
    """
    from edgecil.team import team

    if team().size > 1:  # as torchrun was called, of which nothing is known here
        return f"the same command with --run {folder} --resume --stop-after {stop_after or '1h'}"
    words = ["edgecil", "train", *words_of(request), *more, "--run", str(folder), "--resume"]
    if device != "auto":
        words += ["--device", device]
    return shlex.join([*words, "--stop-after", stop_after or "1h"])


def _remedy(folder: Path, *, named: bool) -> str:
    """How to go on with a run that was stopped.

    Args:
        folder: of the run.
        named: whether the command named it. Without that, the last of `RUNS` would go on.
    """
    from edgecil.training.run import Run

    if not Run(folder).exists:
        return "nothing was begun, and the same command begins again"
    return f"the same command with {'' if named else f'--run {typed(folder)} '}--resume goes on"


def _percent(accuracy: float | None) -> str:
    """An accuracy over all classes; a dash where not all were measured."""
    return "-" if accuracy is None else f"{accuracy:.2f}"


def say_results(folder: Path, results: "list[StageResult]") -> None:
    """Print one line a task, the averages, and the next command."""
    from edgecil.evaluation.measures import average_incremental_accuracy, session_accuracies
    from edgecil.words import tasks_in_words

    print(f"{'task':>4} {'classes':>7} {'accuracy':>8} {'exemplars':>9} {'state bytes':>11}")
    for stage in results:
        accuracy = _percent(stage.whole_accuracy)
        print(
            f"{stage.stage:>4} {stage.classes:>7} {accuracy:>8} "
            f"{stage.exemplars:>9} {stage.state_bytes:>11}"
        )
    for stage in results:
        if stage.whole_accuracy is None:
            print(f"task {stage.stage}: accuracy {stage.accuracy_in_words}")
    accuracies = session_accuracies({stage.stage: stage.whole_accuracy for stage in results})
    if lost := set(range(len(accuracies))) - {stage.stage - 1 for stage in results}:
        told = tasks_in_words(sorted(lost))
        print(f"the results of tasks {told} are lost with results.json, so there is no average")
    average = average_incremental_accuracy(accuracies)
    print(
        f"average incremental accuracy {_percent(average)}, "
        f"last accuracy {_percent(accuracies[-1])}"
    )
    bundle = f"{folder.name}.edgecil"
    if Path(bundle).exists():  # which `edgecil update` may be asked to begin from
        bundle = f"{folder.name}-{len(accuracies)}.edgecil"
    print(f"next: edgecil export {typed(folder)} --out {typed(bundle)}")
