"""`edgecil train`: learn a data set task after task under a byte budget."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.budget import format_bytes
from edgecil.cli import options

if TYPE_CHECKING:
    from edgecil.data import ImageDataset
    from edgecil.planner import Plan
    from edgecil.training.run import Run, StageResult
    from edgecil.training.settings import RunSettings

RUNS = Path("runs")
"""Where runs go that are given no folder."""


def train(
    data: options.Data,
    budget: options.Budget,
    data_dir: options.DataDir = None,
    image_size: options.ImageSize = None,
    holdout: options.Holdout = 0.2,
    base: options.Base = None,
    increment: options.Increment = None,
    tasks: options.Tasks = None,
    tasks_ahead: options.TasksAhead = 0,
    seed: options.Seed = 1993,
    method: options.MethodName = "memo",
    backbone: options.BackboneName = None,
    cut: options.Cut = "last",
    trunk: options.Trunk = "auto",
    accounting: options.Accounting = "strict",
    codec: options.Codec = None,
    state_precision: options.StatePrecision = None,
    recipe: options.Recipe = "fast",
    epochs: options.Epochs = None,
    first_epochs: options.FirstEpochs = None,
    learning_rate: options.LearningRate = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="runs/train, runs/train-2 ..."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in the folder, if there is one.")
    ] = False,
    stop_after: options.StopAfter = None,
) -> None:
    """Learn a data set task after task; what is kept never exceeds the budget."""
    from edgecil.training.request import TrainRequest, load_requested, settle
    from edgecil.training.run import Run, latest_run_folder, next_run_folder

    request = TrainRequest(
        data=data,
        budget=budget,
        data_dir=data_dir,
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
    )
    folder = run or (latest_run_folder(RUNS) if resume else next_run_folder(RUNS))
    dataset = load_requested(request)
    settings, planned, reason = settle(request, dataset)
    started = Run(folder)
    started.start(settings, resume=resume)
    say_plan(folder, settings, planned, reason)
    results = learn_tasks(started, settings, [dataset], device, stop_after)
    say_results(folder, results)


def learn_tasks(
    run: "Run",
    settings: "RunSettings",
    datasets: "list[ImageDataset | None]",
    device: str,
    stop_after: str | None,
) -> "list[StageResult]":
    """Learn the remaining tasks of a run, telling standard error how far it is."""
    from edgecil.cli.progress import TerminalReporter
    from edgecil.training.learner import Learner
    from edgecil.training.loop import choose_device
    from edgecil.training.stopping import Deadline, parse_duration, stopping_on_signals

    deadline = Deadline(parse_duration(stop_after) if stop_after else None)
    reporter = TerminalReporter(settings.budget_bytes)
    learner = Learner(run, settings, datasets, choose_device(device), reporter, deadline)
    with stopping_on_signals():
        return learner.learn()


def say_plan(folder: Path, settings: "RunSettings", planned: "Plan", reason: str) -> None:
    """Tell standard error where the run is and how its budget will be spent."""
    last = planned.stages[-1]
    if reason:
        print(reason, file=sys.stderr)
    print(
        f"run {folder}: {settings.method}, {settings.backbone} in {settings.precision}, "
        f"{settings.codec}\n"
        f"budget {format_bytes(settings.budget_bytes)} = after task {last.stage} about "
        f"{last.model_bytes} of model + {last.exemplars} exemplars",
        file=sys.stderr,
    )


def say_results(folder: Path, results: "list[StageResult]") -> None:
    """Print one line a task, the averages, and the next command."""
    print(f"{'task':>4} {'classes':>7} {'accuracy':>8} {'exemplars':>9} {'state bytes':>11}")
    for stage in results:
        print(
            f"{stage.stage:>4} {stage.classes:>7} {stage.accuracy:>8.2f} "
            f"{stage.exemplars:>9} {stage.state_bytes:>11}"
        )
    average = sum(stage.accuracy for stage in results) / len(results)
    print(f"average incremental accuracy {average:.2f}, last accuracy {results[-1].accuracy:.2f}")
    print(f"next: edgecil export {folder} --out {folder.name}.edgecil")
