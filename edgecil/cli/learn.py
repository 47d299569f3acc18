"""`edgecil learn`: the classes of a folder become the next task of a run."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.cli import options
from edgecil.cli.latency import Bench, Latency, milliseconds, most_blocks, require_one_bound
from edgecil.cli.train import say_results
from edgecil.cli.training_options import DataDir, Device, Holdout, StopAfter
from edgecil.cli.verbs import described
from edgecil.errors import EdgecilError, RunError, UsageError
from edgecil.training.request import TrainRequest
from edgecil_devices.class_names import composed

if TYPE_CHECKING:
    from edgecil.data import ImageDataset
    from edgecil.training.run import Run
    from edgecil.training.settings import RunSettings, Source


def learn(
    run: options.RunFolder,
    data: Annotated[str | None, described(TrainRequest, "data", shown_default=None)] = None,
    data_dir: DataDir = None,
    holdout: Holdout = TrainRequest.holdout,
    budget: Annotated[
        str | None, typer.Option(help="A new budget.", show_default="the run's")
    ] = None,
    max_blocks: Annotated[
        int | None, described(TrainRequest, "max_blocks", shown_default="the run's, or fewer")
    ] = None,
    no_merge: Annotated[bool, described(TrainRequest, "no_merge")] = False,
    latency: Latency = None,
    bench: Bench = None,
    codec: Annotated[
        str | None,
        described(
            TrainRequest,
            "codec",
            says="Exemplars from here on, as train --codec has them. What has lost detail already "
            "can only become smaller.",
            shown_default="as before, or smaller where they would not all fit",
        ),
    ] = None,
    device: Device = "auto",
    discard: Annotated[
        bool,
        typer.Option(
            "--discard",
            help="First give up the new classes that were begun and are not learned yet.",
        ),
    ] = False,
    stop_after: StopAfter = None,
) -> None:
    """Teach a run new classes: those of a folder become its next task, under its budget.

    What a device was taught comes as a zip file: edgecil taught export.

    The same command again goes on where one was interrupted.
    """
    from edgecil.budget import parse_bytes
    from edgecil.cli.progress import TerminalReporter
    from edgecil.data import load_dataset
    from edgecil.data.taught_zip import is_taught_zip, is_unpacked
    from edgecil.memory.state import State, recover
    from edgecil.planning.accounting import ACCOUNTINGS
    from edgecil.planning.block_limits import BlockBound, refuse_impossible_bound
    from edgecil.planning.data_facts import facts_of
    from edgecil.team import team
    from edgecil.training.access import writing
    from edgecil.training.growth import (
        NewTask,
        codecs_from_here,
        is_unfinished,
        kept_of,
        merged_away_of,
        resolve_new_task,
    )
    from edgecil.training.known_pictures import old_without_repeats, without_known
    from edgecil.training.label_changes import warn_of_label_changes
    from edgecil.training.learner import Learner
    from edgecil.training.loop import choose_device
    from edgecil.training.run import Run
    from edgecil.training.stopping import Deadline, Stopped, parse_duration, stopping_on_signals

    if team().size > 1:
        raise UsageError("learn is for one process; start it without torchrun")
    if data is None and not discard:
        raise UsageError("nothing says what to learn; give --data, or --discard what was begun")
    deadline = Deadline(parse_duration(stop_after) if stop_after else None)
    budget_bytes = parse_bytes(budget) if budget else None
    latency_ms = milliseconds(latency) if latency else None
    most_of = partial(most_blocks, latency, bench=bench) if latency else None
    reporter, torch_device = TerminalReporter(_same_command(stop_after)), choose_device(device)
    going_on = Run(run)
    going_on.settings()  # what is no run gets no lock
    with writing(run), _tidied(going_on, data):
        recover(going_on.state_folder)
        state = State.read(going_on.state_folder)
        learned = state.settings.stage
        if discard:
            _discard(going_on, learned)
        if data is None:
            return
        settings = going_on.settings()
        require_one_bound(max_blocks, latency, bench)
        counting = ACCOUNTINGS[settings.accounting]
        refuse_impossible_bound(max_blocks, no_merge, settings.method, counting, latency)
        if no_merge and settings.max_blocks is not None:
            raise UsageError(
                f"{run} merges its blocks, {settings.max_blocks} at most; leave out --no-merge, or "
                "give a higher --max-blocks"
            )
        given = data
        if is_taught_zip(data):
            data = _unpacked(Path(data), going_on, state.settings.classes)
        load = partial(
            load_dataset,
            data,
            data_dir=data_dir,
            image_size_px=settings.image_size_px,
            shorter_side_px=settings.shorter_side_px,
            reading=settings.reading,
            holdout=holdout,
            seed=settings.seed,
            taught=given if is_unpacked(data) else "",
        )
        new = load()
        known = settings.sources[: -1 if is_unfinished(settings, learned) else None]
        found = [_old_source(settings, source, data_dir) for source in known]
        old = old_without_repeats(found, state)
        new, left_out = without_known(new, old, state, lambda known: load(without=known))
        for line in left_out:
            print(line, file=sys.stderr)
        facts = facts_of(new, codecs_from_here(settings, codec))
        bound = BlockBound(max_blocks, no_merge=no_merge)
        task = NewTask(
            data,
            holdout,
            facts,
            budget_bytes,
            bound,
            kept=kept_of(settings, state),
            merged_away=merged_away_of(settings, state),
            latency_ms=latency_ms,
            most_blocks=most_of,
        )
        settings, choice = resolve_new_task(going_on, learned, task)
        old = old[: len(settings.sources) - 1]
        if choice:
            # What a crash left unmeasured belongs to the run as it was.
            before = going_on.settings()
            Learner(going_on, before, old, torch_device, reporter, deadline).learn()
            reporter.run_started(going_on, settings, choice.plan, choice.reason)
            warn_of_label_changes(settings, facts)
        learner = Learner(going_on, settings, [*old, new], torch_device, reporter, deadline)
        try:
            with stopping_on_signals():
                say_results(run, learner.learn())
        except Stopped as stopped:
            remedy = _remedy(going_on, settings.stage_count)
            raise Stopped(stopped.reason, stopped.exit_code, remedy) from None


@contextmanager
def _tidied(run: "Run", data: str | None) -> Iterator[None]:
    """Leave nothing unpacked in the run but what it learns from, and the data that were named."""
    from edgecil.data.taught_zip import remove_unpacked

    try:
        yield
    finally:
        remove_unpacked(run.folder, [data or "", *(one.data for one in run.settings().sources)])


def _unpacked(file: Path, run: "Run", known: Sequence[str]) -> str:
    """The folder, within the run's, of what a device was taught; `known` classes are left out.

    Where the run learned its last task from there, the classes of that task are no known ones.
    """
    from edgecil.data.taught_zip import place_in, remove_unpacked, unpacked
    from edgecil.networks.sources import sha256_of

    settings, place = run.settings(), place_in(run.folder, sha256_of(file))
    remove_unpacked(run.folder, [one.data for one in settings.sources])
    if Path(settings.sources[-1].data).name == place.name:
        known = [name for name in known if name not in settings.tasks[-1].classes]
    found = unpacked(file, place, known)
    for label, count in found.corrections.items():
        print(
            f"left out: {count} pictures of {label!r}, which the run knows; a device goes on using "
            "what it was taught as a correction, but not what it was taught as a new class",
            file=sys.stderr,
        )
    return str(found.folder)


def _same_command(stop_after: str | None) -> str:
    """The command that was given, which goes on with what it begins, stopped after a while."""
    words = ["edgecil", *(word for word in sys.argv[1:] if word != "--discard")]
    return shlex.join(words if stop_after else [*words, "--stop-after", "1h"])


def _discard(run: "Run", learned: int) -> None:
    """Give up what was begun; where nothing was, there is nothing to do."""
    from edgecil.training.growth import discard, is_unfinished

    settings = run.settings()
    if is_unfinished(settings, learned):
        print(f"given up: {', '.join(discard(run))}", file=sys.stderr)
    elif learned < settings.stage_count:
        raise RunError(
            f"{run.folder} is still in training; go on with "
            f"{settings.going_on(run.folder, learned)}, or delete the folder"
        )
    else:
        print(f"{run.folder} has no unfinished classes to give up", file=sys.stderr)


def _remedy(run: "Run", wanted: int) -> str:
    """How to go on with a run that was to learn so many tasks, by what it has come to."""
    from edgecil.memory.state import State, recover
    from edgecil.training.growth import is_unfinished

    recover(run.state_folder)
    learned = State.read(run.state_folder).settings.stage
    if learned == wanted:
        return "the new classes are learned, and the same command tells how well"
    if is_unfinished(run.settings(), learned):
        return "the same command goes on, and --discard gives the new classes up"
    return f"{run.folder} is as it was, and the same command begins again"


def _old_source(
    settings: "RunSettings", source: "Source", data_dir: Path | None
) -> "ImageDataset | None":
    """The data of earlier tasks, wanted only to measure them; None if they are gone."""
    from edgecil.training.run_data import load_source

    try:
        found = load_source(settings, source, data_dir)
    except (EdgecilError, OSError) as error:
        print(f"older classes are not measured: {error}", file=sys.stderr)
        return None
    number = settings.sources.index(source)
    there = {composed(found.classes[label]) for label in set(found.test.labels.tolist())}
    wanted = [name for task in settings.tasks if task.source == number for name in task.classes]
    if gone := sorted(name for name in wanted if composed(name) not in there):
        names = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
        print(f"not measured, without test pictures in {source.data}: {names}", file=sys.stderr)
    return found
