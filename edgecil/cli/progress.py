"""What a person sees while a run trains: one line a task, and one an epoch that overwrites itself.

Where standard error is no terminal, every epoch has a line of its own and no control characters.
"""

import sys

from edgecil.budget import Ledger, format_bytes
from edgecil.evaluation.results import StageResult
from edgecil.methods import TaskView
from edgecil.methods.lesson import Phase
from edgecil.planning.plans import Plan
from edgecil.training.loop import EpochReport
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings


class TerminalReporter:
    """Tells standard error how far training is."""

    def __init__(self) -> None:
        self._rewrites = sys.stderr.isatty()

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """A run starts or goes on; `reason` says why the planner chose this backbone, if it did."""
        last = planned.stages[-1]
        if reason:
            _say(reason)
        _say(
            f"run {run.folder}: {settings.method}, {settings.backbone} in {settings.precision}, "
            f"exemplars in {settings.codec}"
        )
        _say(
            f"budget {format_bytes(settings.budget_bytes)} = after task {last.stage} about "
            f"{last.model_bytes} of model + {last.exemplars} exemplars"
        )

    def task_started(self, task: TaskView, stage_count: int, image_count: int) -> None:
        """A task starts, with `image_count` images to train on, exemplars included."""
        _say(
            f"task {task.stage}/{stage_count}: {task.new_classes} new classes, "
            f"{image_count} images to train on"
        )

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """An epoch is over and kept."""
        line = (
            f"  {phase.name} {report.epoch}/{phase.recipe.epochs}  loss {report.loss:.3f}  "
            f"{report.images_per_second:.0f} images/s"
        )
        if self._rewrites:
            last = report.epoch == phase.recipe.epochs
            print(f"\r{line}\x1b[K", file=sys.stderr, end="\n" if last else "", flush=True)
        else:
            _say(line)

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """A task is learned, kept and measured."""
        accuracy = result.accuracy_in_words
        if result.whole_accuracy is not None:
            accuracy += f" over {result.classes} classes"
        owners = ", ".join(f"{owner} {n}" for owner, n in ledger.by_owner().items() if n)
        _say(
            f"  accuracy {accuracy}; "
            f"{result.exemplars} exemplars; state {format_bytes(result.state_bytes)} "
            f"({owners})"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
