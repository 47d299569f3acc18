"""`edgecil train`: learn a data set task after task under a byte budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.cli import options

if TYPE_CHECKING:
    from edgecil.evaluation.results import StageResult

RUNS = Path("runs")
"""Where runs go that are given no folder."""


def train(
    budget: options.Budget,
    data: options.Data = None,
    protocol: options.ProtocolName = None,
    data_dir: options.DataDir = None,
    classes_file: options.ClassesFile = None,
    image_size: options.ImageSize = None,
    holdout: options.Holdout = 0.2,
    base: options.Base = None,
    increment: options.Increment = None,
    tasks: options.Tasks = None,
    tasks_ahead: options.TasksAhead = 0,
    seed: options.Seed = 1993,
    method: options.MethodName = "memo",
    backbone: options.BackboneName = None,
    cut: options.Cut = None,
    trunk: options.Trunk = "auto",
    accounting: options.Accounting = "strict",
    codec: options.Codec = None,
    state_precision: options.StatePrecision = None,
    recipe: options.Recipe = None,
    epochs: options.Epochs = None,
    first_epochs: options.FirstEpochs = None,
    learning_rate: options.LearningRate = None,
    batch_size: options.BatchSize = None,
    augmentation: options.Augmentation = None,
    no_mirror: options.NoMirror = False,
    device: options.Device = "auto",
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="runs/train, runs/train-2 ..."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in the folder, if there is one.")
    ] = False,
    keep_history: options.KeepHistory = False,
    stop_after: options.StopAfter = None,
) -> None:
    """Learn a data set task after task; what is kept never exceeds the budget."""
    from edgecil.cli.progress import TerminalReporter
    from edgecil.team import team
    from edgecil.training.api import train as learn
    from edgecil.training.request import TrainRequest
    from edgecil.training.run import latest_run_folder, next_run_folder
    from edgecil.training.stopping import parse_duration, stopping_on_signals

    request = TrainRequest(
        data=data,
        protocol=protocol,
        budget=budget,
        data_dir=data_dir,
        classes_file=classes_file,
        image_size_px=image_size,
        holdout=holdout,
        base=base,
        increment=increment,
        tasks=tasks,
        tasks_ahead=tasks_ahead,
        seed=seed,
        method=method,
        backbone=backbone,
        cut=cut,
        trunk=trunk,
        accounting=accounting,
        codec=codec,
        precision=state_precision,
        recipe=recipe,
        epochs=epochs,
        first_epochs=first_epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        augmentation=augmentation,
        no_mirror=no_mirror,
    )
    stop_after_seconds = parse_duration(stop_after) if stop_after else None
    folder = run or (latest_run_folder(RUNS) if resume else next_run_folder(RUNS))
    with stopping_on_signals():
        results = learn(
            request,
            folder,
            device=device,
            resume=resume,
            keep_history=keep_history,
            stop_after_seconds=stop_after_seconds,
            reporter=TerminalReporter(),
        )
    if team().leads:
        say_results(folder, results)


def _percent(accuracy: float | None) -> str:
    """An accuracy over all classes; a dash where not all were measured."""
    return "-" if accuracy is None else f"{accuracy:.2f}"


def say_results(folder: Path, results: "list[StageResult]") -> None:
    """Print one line a task, the averages, and the next command."""
    from edgecil.evaluation.measures import average_incremental_accuracy

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
    accuracies = [stage.whole_accuracy for stage in results]
    average = average_incremental_accuracy(accuracies)
    print(
        f"average incremental accuracy {_percent(average)}, "
        f"last accuracy {_percent(accuracies[-1])}"
    )
    print(f"next: edgecil export {folder} --out {folder.name}.edgecil")
