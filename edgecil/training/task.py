"""Training one task: its phases, epoch by epoch, and what is kept to go on from."""

import math
import time
from dataclasses import dataclass, field
from functools import partial

from edgecil.methods import TaskView
from edgecil.methods.lesson import Lesson, Phase
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images
from edgecil.training.checkpoint import Checkpoint
from edgecil.training.distributed import lead
from edgecil.training.forecast import Forecast
from edgecil.training.history import EpochRecorder
from edgecil.training.loop import EpochReport, epoch_seed, train_phase
from edgecil.training.merging import Merging
from edgecil.training.reporters import Reporter
from edgecil.training.run import Run
from edgecil.training.stopping import Deadline
from edgecil.training.watching import EpochWatch

KEPT_EVERY_SECONDS = 2.0
"""An epoch of a small task takes a graphics card less time than its checkpoint does."""


@dataclass
class EpochKeeper:
    """What happens around every epoch of a task."""

    run: Run
    """Where checkpoints and metrics go."""
    reporter: Reporter
    """Who is told."""
    deadline: Deadline
    """When to stop."""
    forecast: Forecast | None = None
    """Knows the time that is left; None in processes that do not lead."""
    _kept_s: float = field(default=-math.inf, init=False)
    """When the last epoch was kept."""

    def keep(
        self,
        checkpoint: Checkpoint,
        phase: Phase,
        report: EpochReport,
        recorder: EpochRecorder | None,
        seconds: float,
    ) -> None:
        """Note an epoch that took `seconds`, and see whether another one may start.

        It is kept unless the last one was just now. The first of a phase is in any case, and so is
        the last before a stop.

        Raises:
            Stopped: the deadline has come; the epoch is kept.
        """
        if recorder:
            recorder.after_epoch(report.epoch)
        self.run.log_epoch(checkpoint.stage, phase.name, report)
        recent = time.monotonic() - self._kept_s < KEPT_EVERY_SECONDS
        if not recent or report.epoch == 1 or self.deadline.comes(seconds):
            self.run.keep(checkpoint)
            self._kept_s = time.monotonic()
        self.reporter.epoch_finished(phase, report)
        if self.forecast and (left := self.forecast.left()):
            self.reporter.time_left(left)
        self.deadline.check(seconds)


def train_task(
    network: ExpandableNetwork,
    lesson: Lesson,
    images: Images,
    task: TaskView,
    seed: int,
    keeper: EpochKeeper,
    merging: Merging | None = None,
) -> float:
    """Train what the checkpoint of the task, if there is one, has not done yet.

    Args:
        network: grown for the task, on the training device.
        lesson: how it is learned.
        images: the task's images.
        task: the task.
        seed: the run's seed.
        keeper: where epochs are kept.
        merging: the merge of blocks that the lesson begins with; None without one.

    Returns:
        Seconds spent on the task, those before a resume included.

    Raises:
        Stopped: the deadline has come; the last epoch is kept.
        TrainingError: training cannot go on.
    """
    checkpoint = keeper.run.checkpoints.load(task.stage)
    spent, kept = 0.0, 0
    if checkpoint:
        network.load_state_dict(checkpoint.network)
        lesson.extras.load_state_dict(checkpoint.extras)
        spent, kept = checkpoint.seconds, checkpoint.epoch
        kept += sum(phase.recipe.epochs for phase in lesson.phases[: checkpoint.phase])
    lead(partial(keeper.run.forget_epochs, task.stage, kept))
    if keeper.forecast:
        keeper.forecast.begin_task(task.stage, len(images), kept)
    started = time.perf_counter()
    for number, phase in enumerate(lesson.phases):
        done, optimiser = 0, None
        if checkpoint and number < checkpoint.phase:
            continue
        if checkpoint and number == checkpoint.phase:
            done, optimiser = checkpoint.epoch, checkpoint.optimiser
        seeds = [
            epoch_seed(seed, task.stage, number, epoch) for epoch in range(phase.recipe.epochs)
        ]
        recorder = None
        if phase is lesson.phases[-1]:
            recorder = keeper.run.history.recorder(task.stage, phase.name, network)
        epoch_started = time.perf_counter()
        with EpochWatch(phase, done, len(images), keeper.forecast) as watch:
            for report in train_phase(
                network,
                lesson,
                phase,
                images,
                seeds=seeds,
                finished_epochs=done,
                optimiser_state=optimiser,
                after_backward=recorder.after_backward if recorder else None,
                after_step=watch.step,
            ):
                watch.end_epoch()
                now = time.perf_counter()
                end = Checkpoint(
                    stage=task.stage,
                    phase=number,
                    epoch=report.epoch,
                    seconds=spent + now - started,
                    network=network.state_dict(),
                    extras=lesson.extras.state_dict(),
                    optimiser=report.optimiser,
                    groups=merging.merge.groups if merging else None,
                    merged_accuracy=merging.accuracy_by_task if merging else None,
                )
                lead(partial(keeper.keep, end, phase, report, recorder, now - epoch_started))
                epoch_started = now
        if recorder:
            lead(recorder.after_phase)
        if merging:
            merging.after(phase)
    if keeper.forecast:
        keeper.forecast.end_training()
    return spent + time.perf_counter() - started
