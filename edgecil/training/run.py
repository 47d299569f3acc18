"""A run folder: settings, state, results, and what is needed while a task is trained.

config.json     the settings
state/          all that survives between tasks; the budget bounds it
results.json    accuracy and bytes after every task
.lock           held by who trains, and shared by who exports
confusion.csv   images of each class (row) that were taken for which class (column), last measured
metrics.csv     one line an epoch
checkpoint/     an epoch of the task in training, the last or one just before it, then what it took
                until it is measured; gone when the task ends. In one of edgecil learn also what
                config.json was before, to discard it
history/        with --keep-history: weights and gradients of every task, for edgecil analyse
"""

import csv
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecil.errors import RunError
from edgecil.evaluation.measures import average_incremental_accuracy, session_accuracies
from edgecil.evaluation.results import RESULTS, StageResult, read_results
from edgecil.team import team
from edgecil.training.access import LOCK, writing
from edgecil.training.checkpoint import Checkpoint, Checkpoints
from edgecil.training.history import History
from edgecil.training.loop import EpochReport
from edgecil.training.settings import RunSettings
from edgecil_devices.files import naming, replace_atomically

METRICS = ("stage", "phase", "epoch", "loss", "images_per_second")
"""Columns of metrics.csv."""


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run ran on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        pass  # not Linux, or a processor without a name
    found: dict[str, Any] = {"processor": name, "cores": os.cpu_count(), "device": device.type}
    if device.type == "cpu":
        found["threads"] = torch.get_num_threads()
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    if team().size > 1:
        found["processes"] = team().size
    return found


def versions() -> dict[str, str]:
    """Versions of everything that bears on a result."""
    packages = ("edgecil", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


class Run:
    """A run folder.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.json"
        self.state_folder = folder / "state"
        self.results_file = folder / RESULTS
        self.confusion_file = folder / "confusion.csv"
        self.metrics_file = folder / "metrics.csv"
        self.checkpoints = Checkpoints(folder / "checkpoint")
        self._grown: RunSettings | None = None
        self.history = History(folder / "history")

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.config_file.exists()

    def settings(self) -> RunSettings:
        """The settings of the run.

        Raises:
            RunError: this is not a run.
        """
        return RunSettings.load(self.config_file)

    @contextmanager
    def started(self, settings: RunSettings, *, resume: bool) -> Iterator[None]:
        """Make the folder, or check that it is the same run that goes on, and keep others out.

        Raises:
            RunError: a run is there and `resume` was not asked for, its settings differ, or
                another process writes it.
        """
        self._require_possible(settings, resume=resume)  # what is refused is not touched
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.folder):
            self._require_possible(settings, resume=resume)
            kept = self.settings() if self.exists else settings
            moved = kept.with_last_source_in(settings.sources[-1].data)
            if moved != kept or not self.exists:
                moved.save(self.config_file)
            yield

    def require_free(self, *, resume: bool) -> None:
        """Check that the folder has room for a run, or has one that may go on.

        Raises:
            RunError: a run is there and `resume` was not asked for, or something else is.
        """
        if self.exists and not resume:
            raise RunError(f"{self.folder} holds a run; add --resume, or give another --run folder")
        if not self.exists and self.folder.exists() and not self._is_unused():
            raise RunError(f"{self.folder} is not empty; give another --run folder")

    def _require_possible(self, settings: RunSettings, *, resume: bool) -> None:
        """Check that a run can be started here, or goes on as it was started."""
        self.require_free(resume=resume)
        if self.exists:
            self._require_same(settings)

    def _is_unused(self) -> bool:
        """Whether nothing lies in the folder but what a start leaves that a crash cut short."""
        leftovers = (LOCK, f".{self.config_file.name}.")
        return all(path.name.startswith(leftovers) for path in self.folder.iterdir())

    def _require_same(self, settings: RunSettings) -> None:
        """Check that a run goes on as it was started."""
        mine = self.settings()
        if mine.is_added(mine.stage_count):
            begun = self.checkpoints.load(mine.stage_count) is not None
            what = "has begun a task" if begun else "has learned more"
            command = mine.going_on(self.folder, mine.stage_count - 1 if begun else 0)
            raise RunError(
                f"{self.folder} {what} with edgecil learn since; go on with "
                f"{command if begun else 'edgecil learn'}, or give another --run folder"
            )
        if changed := mine.differences(settings):
            data = changed[0].startswith("the data")
            raise RunError(
                f"{self.folder} was started with other {'pictures' if data else 'settings'} "
                f"({'; '.join(changed)}); {'put them back' if data else 'give the same ones'}, "
                "or give another --run folder"
            )

    def grow(self, settings: RunSettings) -> None:
        """Let `settings`, with one more task, be the run's from the task's first checkpoint on.

        A task without epochs has none; it then becomes the run's just before its state is written.
        """
        self.checkpoints.delete_last()  # of other classes that were given up, perhaps
        self._grown = settings

    def keep(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; with its first one, a task of `grow` becomes part of the run."""
        self.take_grown()
        self.checkpoints.save(checkpoint)

    def take_grown(self) -> None:
        """Make a task of `grow` part of the run, if it is not: its state is about to be written."""
        if self._grown is not None:
            self.checkpoints.remember(self.settings())
            self._grown.save(self.config_file)
            self._grown = None

    def stage_results(self) -> list[StageResult]:
        """The results so far, first task first.

        Raises:
            RunError: results.json cannot be read.
        """
        return list(read_results(self.folder).stages)

    def record(
        self, settings: RunSettings, results: list[StageResult], device: torch.device
    ) -> None:
        """Write results.json anew."""
        accuracies = session_accuracies({one.stage: one.whole_accuracy for one in results})
        content = {
            "protocol": settings.protocol,
            "method": settings.method,
            "backbone": settings.backbone,
            "cut": settings.cut,
            "budget_bytes": settings.budget_bytes,
            "accounting": settings.accounting,
            "codec": settings.codec,
            "state_precision": settings.precision,
            "seed": settings.seed,
            "task_sizes": [len(task.classes) for task in settings.tasks],
            "finished": results[-1].stage == settings.stage_count,
            "stages": [asdict(result) for result in results],
            "average_accuracy": average_incremental_accuracy(accuracies),
            "last_accuracy": results[-1].whole_accuracy,
            "seconds": sum(result.seconds for result in results),
            "versions": versions(),
            "hardware": hardware(device),
        }
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        replace_atomically(self.results_file, text.encode())

    def record_confusion(self, matrix: np.ndarray) -> None:
        """Write confusion.csv anew; `matrix` is (C, C), the true class by row."""
        lines = (",".join(map(str, row.tolist())) for row in matrix)
        replace_atomically(self.confusion_file, ("\n".join(lines) + "\n").encode())

    def log_epoch(self, stage: int, phase: str, report: EpochReport) -> None:
        """Append one line to metrics.csv; the columns are `METRICS`."""
        with naming(self.metrics_file), self.metrics_file.open("a", newline="") as file:
            writer = csv.writer(file)
            if not file.tell():  # new, or left empty by a disk that was full
                writer.writerow(METRICS)
            loss, speed = f"{report.loss:.5f}", f"{report.images_per_second:.0f}"
            writer.writerow((stage, phase, report.epoch, loss, speed))

    def last_speed(self) -> tuple[int, float] | None:
        """The task of the last epoch that is kept, and its images a second; None before any."""
        try:
            with self.metrics_file.open(newline="") as file:
                *_, last = csv.DictReader(file)
            return int(last["stage"]), float(last["images_per_second"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none yet, or damaged; the time left is all that hangs on it

    def forget_epochs(self, stage: int, kept: int) -> None:
        """Cut metrics.csv after the first `kept` epochs of task `stage`: others are trained again.

        A process that is killed between an epoch's line and its checkpoint leaves such a line.
        """
        if not self.metrics_file.exists():
            return
        header, *lines = self.metrics_file.read_bytes().splitlines(keepends=True) or [b""]
        earlier = {b"%d" % number for number in range(1, stage)}
        valid = sum(line.partition(b",")[0] in earlier for line in lines) + kept
        if len(lines) > valid:
            replace_atomically(self.metrics_file, b"".join([header, *lines[:valid]]))


def next_run_folder(parent: Path) -> Path:
    """`parent`/train, then train-2, train-3 ...: the one after the last that is there."""
    last = _last_number(parent)
    return parent / (f"train-{last + 1}" if last else "train")


def latest_run_folder(parent: Path) -> Path:
    """The last of train, train-2, train-3 ... in `parent` that is there; the first if none is."""
    last = _last_number(parent)
    return parent / (f"train-{last}" if last > 1 else "train")


def _last_number(parent: Path) -> int:
    """The highest number of a run in `parent`, "train" being 1; 0 if there is none.

    Runs in between may have been deleted.
    """
    named = (re.fullmatch(r"train(?:-([1-9]\d*))?", path.name) for path in parent.glob("train*"))
    return max((int(name[1] or 1) for name in named if name), default=0)
