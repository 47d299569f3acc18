"""Mid-task checkpoints: everything that the next epoch needs, and nothing that outlives the task.

A checkpoint lies outside the state and is deleted when its task ends. What the task came to until
then stays a moment longer, until it is measured: see `Learned`.
"""

import io
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgecil.errors import StateCorruptError, TrainingError
from edgecil.evaluation.results import MergeResult
from edgecil.training.settings import RunSettings
from edgecil_devices._json import json_object
from edgecil_devices.files import naming, replace_atomically, sync_folder


@dataclass(frozen=True)
class Checkpoint:
    """The end of an epoch."""

    stage: int
    """The task in training, counted from 1."""
    phase: int
    """The phase of that task, counted from 0."""
    epoch: int
    """Epochs of the phase that are finished."""
    seconds: float
    """Time spent on the task so far."""
    network: dict[str, Any]
    """State dict of the network."""
    extras: dict[str, Any]
    """State dict of what learns beside it and is not kept, the auxiliary head for instance."""
    optimiser: dict[str, Any]
    """State dict of the optimiser."""
    groups: tuple[tuple[int, ...], ...] | None = None
    """Which blocks are merged; None where all stay."""
    merged_accuracy: tuple[float | None, ...] | None = None
    """What the tasks before have with merged blocks, in percent; None where that is not known."""


@dataclass(frozen=True)
class Learned:
    """What a task came to that its state does not tell, until it is measured and has a result."""

    stage: int
    """The task, counted from 1."""
    seconds: float = 0.0
    """Time spent on it so far."""
    merge: MergeResult | None = None
    """The merge of blocks that it began with; None where nothing was merged."""

    def after(self, started: float) -> "Learned":
        """The same with the seconds since `started`, a reading of `time.perf_counter`."""
        return replace(self, seconds=self.seconds + time.perf_counter() - started)


class Checkpoints:
    """The one checkpoint of a run, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "last.pt"
        self._learned_file = folder / "learned.json"
        self._before_file = folder / "config-before.json"

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; a crash leaves the old one or the new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(vars(checkpoint), buffer)
        replace_atomically(self._file, buffer.getvalue())

    def load(self, stage: int) -> Checkpoint | None:
        """The checkpoint of task `stage`; None if there is none, or one of another task.

        Raises:
            StateCorruptError: the file is damaged.
            TrainingError: memory is full.
            OSError: the file cannot be read.
        """
        if not self._file.exists():
            return None
        with naming(self._file):
            content = io.BytesIO(self._file.read_bytes())
        try:
            checkpoint = Checkpoint(**torch.load(content, map_location="cpu", weights_only=True))
        except MemoryError as error:
            raise TrainingError(
                f"memory is full, so {self._file} cannot be read; free some, and go on likewise"
            ) from error
        except Exception as error:  # torch raises many kinds for a damaged file
            raise StateCorruptError(
                f"{self._file} is damaged; delete it and the task starts again at its first epoch"
            ) from error
        return checkpoint if checkpoint.stage == stage else None

    def remember(self, settings: RunSettings) -> None:
        """Keep the settings from before a task was added, with the folder itself, to go back."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings.save(self._before_file)
        sync_folder(self._folder.parent)

    def remembered(self) -> RunSettings | None:
        """What `remember` kept; None if there is nothing."""
        return RunSettings.load(self._before_file) if self._before_file.exists() else None

    def note(self, learned: Learned) -> None:
        """Keep what a task came to, whose state is about to be written and then to be measured."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(learned), allow_nan=False)
        replace_atomically(self._learned_file, content.encode())

    def noted(self, stage: int) -> Learned:
        """What `note` kept of task `stage`; nothing of what it came to if there is no such note.

        Raises:
            StateCorruptError: the file cannot be read.
        """
        if not self._learned_file.exists():
            return Learned(stage)
        try:
            content = json_object(self._learned_file.read_bytes())
            merge = content["merge"] and MergeResult.from_dict(content["merge"])
            learned = Learned(int(content["stage"]), float(content["seconds"]), merge)
        except (ValueError, KeyError, TypeError) as error:
            raise StateCorruptError(
                f"{self._learned_file} is damaged; delete it, and the task is measured without the "
                "time that it took"
            ) from error
        return learned if learned.stage == stage else Learned(stage)

    def delete_last(self) -> None:
        """Remove the checkpoint for good: after a power cut it would pass for that of a later task.

        Raises:
            OSError: it cannot be deleted.
        """
        if self._file.exists():
            self._file.unlink()
            sync_folder(self._folder)

    def delete_of(self, stage: int) -> None:
        """Remove all that is left of task `stage`, now that it is measured.

        Where its result had been lost, the next one may be in training, whose checkpoint stays.
        """
        if self.load(stage + 1):
            self._learned_file.unlink(missing_ok=True)
        else:
            self.delete()

    def delete(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
