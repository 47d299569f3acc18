"""Training from Python: `edgecil.train`, which the command line uses too."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgecil.data import DATASETS, ImageDataset
from edgecil.errors import UsageError
from edgecil.evaluation.results import StageResult
from edgecil.networks.backbones import pretrained_named
from edgecil.pictures.readers import end_if_only_imported
from edgecil.team import team
from edgecil.training.distributed import in_turn, joined, lead
from edgecil.training.label_changes import warn_of_label_changes
from edgecil.training.learner import Learner
from edgecil.training.loop import choose_device
from edgecil.training.proposing import proposed
from edgecil.training.rehearsal import pace_on
from edgecil.training.reporters import Reporter
from edgecil.training.reporters import SilentReporter as SilentReporter
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import load_requested, once, resolve, within
from edgecil.training.resuming import as_begun, origin_now, require_same_bounds
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import Deadline
from edgecil.work import watched_by
from edgecil_devices.preprocessing import FOR_PHOTOS


def train(
    request: TrainRequest,
    folder: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    keep_history: bool = False,
    stop_after_seconds: float | None = None,
    latency_ms: float | None = None,
    most_blocks: Callable[[RunSettings], int] | None = None,
    reporter: Reporter | None = None,
    dataset: ImageDataset | None = None,
) -> list[StageResult]:
    """Learn a data set task after task; what is kept never exceeds the budget.

    Under torchrun the processes train together; all of them call it alike, and all get the results.

    Args:
        request: data, budget, and whatever else is not left to edgecil.
        folder: where the run is kept.
        device: auto, cpu, cuda or mps.
        resume: go on with the run in `folder`, if there is one.
        keep_history: record in folder/history what `edgecil analyse` shows. A run that was started
            with it goes on with it; one that was not records from here on.
        stop_after_seconds: stop with a checkpoint when these have passed, and an epoch at least.
        latency_ms: milliseconds that a picture may take on a device; kept, so that a run that goes
            on is asked for the same.
        most_blocks: settings -> how many blocks of their network keep `latency_ms`, asked when a
            run begins; None if `request` has its backbone and its blocks by them already.
        reporter: who is told how far training is; see `edgecil.training.reporters`.
        dataset: the request's data set, if it is loaded already.

    Returns:
        One result a task.

    Raises:
        Stopped: as asked; a later call with `resume` goes on.
        BudgetError: the budget cannot hold the tasks; nothing was written.
        DataError, RunError, StateError, TrainingError, UsageError, WeightsError: see their
            messages.
    """
    end_if_only_imported()
    reporter = reporter if reporter and team().leads else SilentReporter()
    deadline = Deadline(stop_after_seconds)
    torch_device = choose_device(device)
    with joined(torch_device), ExitStack() as held:
        if not team().leads:
            held.enter_context(watched_by(None))  # one process speaks for all
        folder = lead(lambda: Path(folder))
        run = Run(folder)
        lead(partial(run.require_free, resume=resume))  # before anything that takes its time
        begun = run.settings() if run.exists else None
        if not begun:
            lead(partial(_require_apart, folder, request.chosen_data))
        comes = None if request.weights else pretrained_named(request.backbone)
        if comes and not begun:
            # Before pictures are read; a run that goes on has it in its state.
            in_turn(partial(comes.source.file, str(request.backbone)))
        # A run from before colour profiles were followed goes on without them.
        reading = begun.reading if begun else FOR_PHOTOS
        if begun:
            lead(partial(require_same_bounds, run, begun, request, latency_ms))
        origin = lead(partial(origin_now, request, run, begun))  # before pictures are read
        decided = dataset or begun
        backbone = begun.backbone if begun else request.backbone
        if decided and pretrained_named(backbone) and not request.image_size_px:
            # What such a network would be given now may be another size.
            request = replace(request, image_size_px=decided.image_size_px)
        dataset = dataset or in_turn(partial(load_requested, request, reading))
        if begun:
            # Chosen again, by a newer edgecil or another measurement, it might be something else.
            request = as_begun(request, begun)
        chosen = proposed(request, dataset, reading, begun, bounded=most_blocks is not None)
        request, pace = chosen.request, once(partial(pace_on, torch_device))
        if most_blocks and not begun:
            ask = most_blocks
            request = within(request, chosen.facts, lambda one: lead(partial(ask, one)), pace)
        settings, planned, reason = resolve(request, chosen.facts, reading, pace, origin)
        settings = replace(settings, latency_ms=latency_ms or 0.0)
        # The process that leads is the one that writes, so it holds the lock for all.
        lead(partial(held.enter_context, run.started(settings, resume=resume)))
        if keep_history:
            lead(run.history.start)
        reporter.run_started(
            run, settings, planned, "\n".join(filter(None, (chosen.reason, reason)))
        )
        if begun is None and team().leads:
            warn_of_label_changes(settings)
        datasets = [chosen.dataset]
        learner = Learner(run, settings, datasets, torch_device, reporter, deadline, planned)
        # What the plan was made with, so that both tell the same.
        planned_by_time = request.time and settings.images_a_task
        return learner.learn(pace(settings) if planned_by_time else None)


def _require_apart(folder: Path, data: str | None) -> None:
    """Refuse a run among the pictures it learns, whose folder would be the next run's class."""
    if data and data not in DATASETS and folder.resolve().is_relative_to(Path(data).resolve()):
        raise UsageError(
            f"the run folder {folder} is within {data}, where every folder is a class; give --run "
            "a folder elsewhere"
        )
