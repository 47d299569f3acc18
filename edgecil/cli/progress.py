"""What a person reads while a run trains: one line a task and one a phase, beside the bars.

Where no bars are shown (`edgecil.cli.bars`) every epoch has a line of its own, too, and no control
characters.
"""

import sys

from edgecil.budget import Ledger, format_bytes
from edgecil.evaluation.results import StageResult
from edgecil.methods import TaskView
from edgecil.methods.lesson import Phase
from edgecil.planning.plans import Plan
from edgecil.training.forecast import TimeLeft
from edgecil.training.loop import EpochReport
from edgecil.training.reporters import Reporter
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.words import duration_in_words
from edgecil.work import is_watched
from edgecil_devices.counting import counted

LONG_SECONDS = 3600.0
"""A run that takes longer is announced as long."""


class TerminalReporter(Reporter):
    """Tells standard error how far training is.

    Args:
        going_on: the command that begins the run or goes on with it and stops it after a while, for
            a run that takes long; "" where there is none to give.
    """

    def __init__(self, going_on: str = "") -> None:
        self._going_on = going_on

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """A run starts or goes on; `reason` says why the planner chose this backbone, if it did."""
        last = planned.stages[-1]
        if reason:
            _say(reason)
        _say(
            f"run {run.folder}: {settings.method}, {settings.backbone} in {settings.precision}, "
            f"{settings.exemplars_in_words}"
        )
        _say(
            f"budget {format_bytes(settings.budget_bytes)} = after task {last.stage} about "
            f"{last.model_bytes} of model + {counted(last.exemplars, 'exemplar')}"
        )

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        """A task starts, with `image_count` images to train on, exemplars included."""
        _say(
            f"task {task.stage}/{stage_count}: {counted(task.new_classes, 'new class')}, "
            f"{counted(image_count, 'image')} to train on"
        )

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """An epoch is over and kept."""
        if is_watched() and report.epoch < phase.recipe.epochs:
            return  # a bar has shown it
        _say(
            f"  {phase.name} {report.epoch}/{phase.recipe.epochs}  loss {report.loss:.3f}  "
            f"{report.images_per_second:.0f} images/s"
        )

    def time_left(self, left: TimeLeft) -> None:
        """Say it once of a run that takes long, and how to divide it."""
        if left.run_seconds <= LONG_SECONDS or not self._going_on:
            return
        _say(
            f"this takes about {duration_in_words(left.run_seconds)} on this machine; to divide "
            f"it, stop it with Ctrl-C and give as often as it takes:\n  {self._going_on}"
        )
        self._going_on = ""

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """A task is learned, kept and measured."""
        if result.merge:
            _say(f"  merged: {result.merge.in_words}")
        accuracy = result.accuracy_in_words
        if result.whole_accuracy is not None:
            accuracy += f" over {counted(result.classes, 'class')}"
        owners = ", ".join(f"{owner} {n}" for owner, n in ledger.by_owner().items() if n)
        _say(
            f"  accuracy {accuracy}; "
            f"{counted(result.exemplars, 'exemplar')}; state {format_bytes(result.state_bytes)} "
            f"({owners})"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
