"""Who is told how far training is: the protocol `Reporter`, and the reporters that need no screen.

A logger of one's own is a class that overrides the calls that it wants:

    import edgecil
    from pathlib import Path

    class Losses(edgecil.Reporter):
        def epoch_finished(self, phase, report):
            print(phase.name, report.epoch, f"{report.loss:.2f}")

        def time_left(self, left):
            print(f"{left.run_seconds:.0f} s to go")

    request = edgecil.TrainRequest(data="photos", budget="3MB")
    edgecil.train(request, Path("runs/photos"), reporter=Losses())

`edgecil.cli.progress.TerminalReporter` and `edgecil.training.tensorboard.TensorBoardReporter` are
such classes. Calls come from the process that leads and from the thread that trains; training waits
while they are answered. What a reporter raises ends training, with its last epoch kept.
"""

from typing import Protocol

from edgecil.budget import Ledger
from edgecil.evaluation.results import StageResult
from edgecil.methods import TaskView
from edgecil.methods.lesson import Phase
from edgecil.planning.plans import Plan
from edgecil.training.forecast import TimeLeft
from edgecil.training.loop import EpochReport
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings


class Reporter(Protocol):
    """Who is told how far training is; a subclass overrides what it wants to know.

    A run makes its calls in this order: `run_started`, perhaps `time_left`, and for every task
    `task_started`, `epoch_finished` and `time_left` after each epoch, and `stage_finished`. None of
    them has to be answered: as they stand here they do nothing.
    """

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """A run starts or goes on.

        Args:
            run: its folder, which is there by now.
            settings: all that decides what it learns.
            planned: what it comes to stage by stage, in bytes.
            reason: why the planner chose this backbone; "" where it did not.
        """
        return

    def time_left(self, left: TimeLeft) -> None:
        """How long the rest will take by this machine's own speed, in seconds.

        Called before the first task where that can be foreseen, and after every epoch.
        """
        return

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        """A task starts.

        Args:
            task: its number, counted from 1, and its classes.
            stage_count: tasks of the run.
            image_count: images to train on, exemplars included.
        """
        return

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """An epoch is over and kept.

        Args:
            phase: the part of the task that it belongs to: its name, its recipe's epochs.
            report: the epoch counted from 1, mean loss, images a second.
        """
        return

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """A task is learned, kept and measured.

        Args:
            result: accuracy in percent, bytes, exemplars, seconds.
            ledger: who owns which byte of the state.
        """
        return


class SilentReporter(Reporter):
    """Tells nobody."""


class Together(Reporter):
    """Tells several reporters, one after another.

    Args:
        reporters: who is told, in this order.
    """

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """See `Reporter`."""
        for reporter in self._reporters:
            reporter.run_started(run, settings, planned, reason)

    def time_left(self, left: TimeLeft) -> None:
        """See `Reporter`."""
        for reporter in self._reporters:
            reporter.time_left(left)

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        """See `Reporter`."""
        for reporter in self._reporters:
            reporter.task_started(task, stage_count, image_count)

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """See `Reporter`."""
        for reporter in self._reporters:
            reporter.epoch_finished(phase, report)

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """See `Reporter`."""
        for reporter in self._reporters:
            reporter.stage_finished(result, ledger)
