"""Training from Python: `edgecil.train`, which the command line uses too."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from edgecil.budget import Ledger
from edgecil.data import ImageDataset
from edgecil.evaluation.results import StageResult
from edgecil.methods import TaskView
from edgecil.methods.lesson import Phase
from edgecil.networks.backbones import pretrained_named
from edgecil.pictures.readers import end_if_only_imported
from edgecil.planning.plans import Plan
from edgecil.team import team
from edgecil.training.distributed import in_turn, joined, lead
from edgecil.training.label_changes import warn_of_label_changes
from edgecil.training.learner import Learner
from edgecil.training.loop import EpochReport, choose_device
from edgecil.training.proposing import proposed
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import load_requested, resolve
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import Deadline
from edgecil.training.task import Reporter


class SilentReporter:
    """Tells nobody."""

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """A run starts or goes on."""

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        """A task starts."""

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """An epoch is over."""

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """A task is learned."""


def train(
    request: TrainRequest,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    keep_history: bool = False,
    stop_after_seconds: float | None = None,
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
        stop_after_seconds: stop with a checkpoint when these have passed.
        reporter: who is told how far training is.
        dataset: the request's data set, if it is loaded already.

    Returns:
        One result a task.

    Raises:
        Stopped: as asked; a later call with `resume` goes on.
        BudgetError: the budget cannot hold the tasks; nothing was written.
        DataError, RunError, StateError, TrainingError, UsageError: see their messages.
    """
    end_if_only_imported()
    reporter = reporter if reporter and team().leads else SilentReporter()
    deadline = Deadline(stop_after_seconds)
    torch_device = choose_device(device)
    with joined(torch_device), ExitStack() as held:
        comes = None if request.weights else pretrained_named(request.backbone)
        if comes and not Run(folder).exists:
            # Before pictures are read; a run that goes on has it in its state.
            in_turn(partial(comes.source.file, str(request.backbone)))
        dataset = dataset or in_turn(partial(load_requested, request))
        run = Run(lead(lambda: folder))
        begins = not run.exists
        chosen = proposed(request, dataset, None if begins else run.settings())
        settings, planned, reason = resolve(chosen.request, chosen.facts)
        # The process that leads is the one that writes, so it holds the lock for all.
        lead(partial(held.enter_context, run.started(settings, resume=resume)))
        if keep_history:
            lead(run.history.start)
        reporter.run_started(
            run, settings, planned, "\n".join(filter(None, (chosen.reason, reason)))
        )
        if begins and team().leads:
            warn_of_label_changes(settings)
        return Learner(run, settings, [chosen.dataset], torch_device, reporter, deadline).learn()
