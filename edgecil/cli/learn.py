"""`edgecil learn`: the classes of a folder become the next task of a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.cli import options
from edgecil.cli.train import say_results
from edgecil.errors import EdgecilError, RunError

if TYPE_CHECKING:
    from edgecil.data import ImageDataset
    from edgecil.training.settings import RunSettings, Source


def learn(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    data: options.NewData,
    data_dir: options.DataDir = None,
    holdout: options.Holdout = 0.2,
    budget: Annotated[
        str | None, typer.Option(help="A new budget.", show_default="the run's")
    ] = None,
    device: options.Device = "auto",
    stop_after: options.StopAfter = None,
) -> None:
    """Teach a run new classes: those of a folder become its next task, under its budget.

    The same command again goes on where one was interrupted.
    """
    from edgecil.budget import parse_bytes
    from edgecil.cli.progress import TerminalReporter
    from edgecil.data import load_dataset
    from edgecil.memory.state import State, recover
    from edgecil.training.facts import facts_of
    from edgecil.training.known_pictures import old_without_repeats, without_known
    from edgecil.training.learner import Learner
    from edgecil.training.loop import choose_device
    from edgecil.training.run import Run
    from edgecil.training.settling import with_new_task
    from edgecil.training.stopping import Deadline, parse_duration, stopping_on_signals

    deadline = Deadline(parse_duration(stop_after) if stop_after else None)
    reporter = TerminalReporter()

    going_on = Run(run)
    settings = going_on.settings()
    recover(going_on.state_folder)
    state = State.read(going_on.state_folder)
    learned = state.settings.stage
    new = load_dataset(
        data,
        data_dir=data_dir,
        image_size_px=settings.image_size_px,
        shorter_side_px=settings.shorter_side_px,
        holdout=holdout,
        seed=settings.seed,
    )
    known = settings.sources[: None if learned == settings.stage_count else -1]
    old = old_without_repeats([_old_source(settings, one, data_dir) for one in known], state)
    new, left_out = without_known(new, old, state)
    for line in left_out:
        print(line, file=sys.stderr)
    if learned == settings.stage_count:
        budget_bytes = parse_bytes(budget) if budget else settings.budget_bytes
        facts = facts_of(new, [settings.codec])
        settings, planned = with_new_task(settings, data, holdout, facts, budget_bytes)
        settings.save(going_on.config_file)
        reporter.run_started(going_on, settings, planned, "")
    elif settings.tasks[-1].classes != new.classes:
        raise RunError(f"{run} has an unfinished task; finish it first with edgecil train --resume")
    sources = [*old, new]
    learner = Learner(going_on, settings, sources, choose_device(device), reporter, deadline)
    with stopping_on_signals():
        say_results(run, learner.learn())


def _old_source(
    settings: "RunSettings", source: "Source", data_dir: Path | None
) -> "ImageDataset | None":
    """The data of earlier tasks, wanted only to measure them; None if they are gone."""
    from edgecil.data import load_dataset

    try:
        return load_dataset(
            source.data,
            data_dir=data_dir,
            image_size_px=settings.image_size_px,
            shorter_side_px=settings.shorter_side_px,
            holdout=source.holdout,
            seed=settings.seed,
            known_classes=[name for task in settings.tasks for name in task.classes],
        )
    except EdgecilError as error:
        print(f"older classes are not measured: {error}", file=sys.stderr)
        return None
