"""Mid-task checkpoints: everything that the next epoch needs, and nothing that outlives the task.

A checkpoint lies outside the state and is deleted when its task ends.
"""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgecil.errors import StateCorruptError
from edgecil.training.settings import RunSettings
from edgecil_devices.files import replace_atomically, sync_folder


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


class Checkpoints:
    """The one checkpoint of a run, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "last.pt"
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
            StateCorruptError: the file cannot be read.
        """
        if not self._file.exists():
            return None
        try:
            checkpoint = Checkpoint(**torch.load(self._file, map_location="cpu", weights_only=True))
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

    def delete_last(self) -> None:
        """Remove the checkpoint for good: after a power cut it would pass for that of a later task.

        Raises:
            OSError: it cannot be deleted.
        """
        if self._file.exists():
            self._file.unlink()
            sync_folder(self._folder)

    def delete(self) -> None:
        """Remove the checkpoint and its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
