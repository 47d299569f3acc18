"""A run folder: settings, state, results, and what is needed while a task is trained.

config.json     the settings
state/          all that survives between tasks; the budget bounds it
results.json    accuracy and bytes after every task
confusion.csv   images of each class (row) that were taken for which class (column), last measured
metrics.csv     one line an epoch
checkpoint/     the last finished epoch of the task in training; gone when it ends
history/        with --keep-history: weights and gradients of every task, for edgecil analyse
"""

import csv
import itertools
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecil.analysis.history import History
from edgecil.errors import RunError
from edgecil.training.checkpoint import Checkpoints
from edgecil.training.distributed import team
from edgecil.training.loop import EpochReport
from edgecil.training.settings import RunSettings
from edgecil_devices.files import replace_atomically

METRICS = ("stage", "phase", "epoch", "loss", "images_per_second")
"""Columns of metrics.csv."""


@dataclass(frozen=True)
class StageResult:
    """What a run came to after one task."""

    stage: int
    """Counted from 1."""
    classes: int
    """Classes learned so far."""
    accuracy: float
    """Top-1 accuracy over the test images of all classes so far, in percent."""
    accuracy_by_task: list[float]
    """The same for the images of each task."""
    state_bytes: int
    """Sum of the sizes of all files of the state."""
    bytes_by_owner: dict[str, int]
    """The same by trunk, blocks, head, exemplars and names."""
    exemplars: int
    """Pictures kept."""
    seconds: float
    """Time spent on the task, evaluation included."""
    nearest_mean_accuracy: float | None = None
    """The same as `accuracy` with the nearest mean of exemplars; None where it is not measured."""


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
        self.results_file = folder / "results.json"
        self.confusion_file = folder / "confusion.csv"
        self.metrics_file = folder / "metrics.csv"
        self.checkpoints = Checkpoints(folder / "checkpoint")
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

    def start(self, settings: RunSettings, *, resume: bool) -> None:
        """Make the folder, or check that it is the same run that goes on.

        Raises:
            RunError: a run is there and `resume` was not asked for, or its settings differ.
        """
        if not self.exists:
            if self.folder.exists() and any(self.folder.iterdir()):
                raise RunError(f"{self.folder} is not empty; give another --run folder")
            self.folder.mkdir(parents=True, exist_ok=True)
            settings.save(self.config_file)
            return
        if not resume:
            raise RunError(f"{self.folder} holds a run; add --resume, or give another --run folder")
        changed = self.settings().differences(settings)
        if changed:
            raise RunError(
                f"{self.folder} was started with other settings ({'; '.join(changed)}); "
                "give the same ones, or another --run folder"
            )

    def stage_results(self) -> list[StageResult]:
        """The results so far, first task first.

        Raises:
            RunError: results.json cannot be read.
        """
        if not self.results_file.exists():
            return []
        try:
            stages = json.loads(self.results_file.read_bytes())["stages"]
            return [StageResult(**stage) for stage in stages]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.results_file} is damaged; restore it from a copy") from error

    def record(
        self, settings: RunSettings, results: list[StageResult], device: torch.device
    ) -> None:
        """Write results.json anew."""
        accuracies = [result.accuracy for result in results]
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
            "finished": len(results) == settings.stage_count,
            "stages": [asdict(result) for result in results],
            "average_accuracy": sum(accuracies) / len(accuracies),
            "last_accuracy": accuracies[-1],
            "seconds": sum(result.seconds for result in results),
            "versions": versions(),
            "hardware": hardware(device),
        }
        replace_atomically(self.results_file, (json.dumps(content, indent=1) + "\n").encode())

    def record_confusion(self, matrix: np.ndarray) -> None:
        """Write confusion.csv anew; `matrix` is (C, C), the true class by row."""
        lines = (",".join(map(str, row)) for row in matrix.tolist())
        replace_atomically(self.confusion_file, ("\n".join(lines) + "\n").encode())

    def log_epoch(self, stage: int, phase: str, report: EpochReport) -> None:
        """Append one line to metrics.csv; the columns are `METRICS`."""
        new = not self.metrics_file.exists()
        with self.metrics_file.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(METRICS)
            loss, speed = f"{report.loss:.5f}", f"{report.images_per_second:.0f}"
            writer.writerow((stage, phase, report.epoch, loss, speed))

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


def next_run_folder(parent: Path, name: str = "train") -> Path:
    """`parent`/name, or name-2, name-3 ...: the first that is free."""
    return next(folder for folder in _numbered(parent, name) if not folder.exists())


def latest_run_folder(parent: Path, name: str = "train") -> Path:
    """The last of name, name-2, name-3 ... in `parent` that is there; the first if none is."""
    latest = parent / name
    for folder in _numbered(parent, name):
        if not folder.exists():
            break
        latest = folder
    return latest


def _numbered(parent: Path, name: str) -> Iterator[Path]:
    yield parent / name
    for number in itertools.count(2):
        yield parent / f"{name}-{number}"
