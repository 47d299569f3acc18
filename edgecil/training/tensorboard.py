"""A run's curves in TensorBoard: losses and speed by epoch, accuracy and bytes by task.

edgecil train --data photos/ --budget 3MB --tensorboard
tensorboard --logdir runs
"""

import csv
from typing import Any

from edgecil.budget import Ledger
from edgecil.errors import MissingExtraError
from edgecil.evaluation.results import StageResult
from edgecil.methods.lesson import Phase
from edgecil.planning.plans import Plan
from edgecil.training.forecast import TimeLeft
from edgecil.training.loop import EpochReport
from edgecil.training.reporters import Reporter
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings

FOLDER = "tensorboard"
"""Where it writes, in the run's folder; the budget does not count it."""


class TensorBoardReporter(Reporter):
    """Writes scalars into RUN/tensorboard, for TensorBoard to show.

    Epochs are counted through all tasks, as the lines of metrics.csv are. A run that goes on
    replaces what it had written of epochs that were not kept.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise MissingExtraError(
                "--tensorboard needs tensorboard, which", "tensorboard"
            ) from None
        self._made_by = SummaryWriter
        self._writer: SummaryWriter | None = None
        self._epochs = 0

    def run_started(self, run: Run, settings: RunSettings, planned: Plan, reason: str) -> None:
        """Remember where to write."""
        self._run = run

    def epoch_finished(self, phase: Phase, report: EpochReport) -> None:
        """Loss and speed."""
        self._epochs += 1
        if self._writer is None:
            # Epochs that were not kept have left metrics.csv, and this one has its line there.
            with self._run.metrics_file.open(newline="") as file:
                self._epochs = sum(1 for _ in csv.DictReader(file))
            self._writer = self._opened(purge_step=self._epochs)
        self._add(f"loss/{phase.name}", report.loss, self._epochs)
        self._add("images a second", report.images_per_second, self._epochs)

    def time_left(self, left: TimeLeft) -> None:
        """Hours."""
        if self._epochs:
            self._add("hours left", left.run_seconds / 3600, self._epochs)

    def stage_finished(self, result: StageResult, ledger: Ledger) -> None:
        """Accuracy over all classes, exemplars, and every owner's bytes, by task."""
        if result.whole_accuracy is not None:
            self._add("accuracy", result.whole_accuracy, result.stage)
        self._add("exemplars", result.exemplars, result.stage)
        for owner, size_bytes in ledger.by_owner().items():
            self._add(f"bytes/{owner}", size_bytes, result.stage)

    def _opened(self, purge_step: int | None = None) -> Any:
        return self._made_by(str(self._run.folder / FOLDER), purge_step=purge_step)

    def _add(self, name: str, value: float, step: int) -> None:
        if self._writer is None:
            # A task without epochs, or one that a crash had left unmeasured.
            self._writer = self._opened()
        self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a run may be killed
