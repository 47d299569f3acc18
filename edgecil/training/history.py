"""What `edgecil train --keep-history` keeps for `edgecil analyse`, stage by stage.

history/stage-01/gradients.csv            one line a layer and epoch, columns `GRADIENTS`
history/stage-01/first-epoch.safetensors  the newest backbone after the first epoch, fp32
history/stage-01/last-epoch.safetensors   the same after the last epoch

No run needs it to go on, so it lies outside the state and no budget counts it. The folder decides:
where it is, every stage is recorded, a resumed one too. Of a task of several phases the last is
recorded, that which trains the network that is kept.

Every epoch is written here before its checkpoint is. A run that is killed in between trains the
epoch again, and writes the same again.
"""

import csv
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from edgecil.errors import RunError
from edgecil.networks import ExpandableNetwork
from edgecil.networks.newest import NewestBackbone
from edgecil.training.gradients import GradientNorms
from edgecil_devices.files import replace_atomically

GRADIENTS = ("stage", "phase", "epoch", "layer", "norm")
"""Columns of gradients.csv."""


@dataclass(frozen=True)
class GradientNorm:
    """One line of gradients.csv."""

    stage: int
    """The task, counted from 1."""
    phase: str
    """The phase of the task, as in metrics.csv."""
    epoch: int
    """Counted from 1."""
    layer: str
    """A layer of the newest backbone."""
    norm: float
    """Mean over the epoch's steps of the L2 norm of the gradient of all the layer's parameters."""


class StageHistory:
    """The history of one stage.

    Args:
        folder: where it is kept, perhaps not made yet.
        stage: counted from 1.
    """

    def __init__(self, folder: Path, stage: int) -> None:
        self.stage = stage
        self._folder = folder
        self._gradients_file = folder / "gradients.csv"
        self.first_epoch_file = folder / "first-epoch.safetensors"
        self.last_epoch_file = folder / "last-epoch.safetensors"

    def gradients(self) -> list[GradientNorm]:
        """What was recorded, epoch by epoch, shallow layers first.

        Raises:
            RunError: the file is damaged.
        """
        if not self._gradients_file.exists():
            return []
        try:
            with self._gradients_file.open(newline="") as file:
                rows = csv.DictReader(file)
                return [
                    GradientNorm(
                        stage=int(row["stage"]),
                        phase=row["phase"],
                        epoch=int(row["epoch"]),
                        layer=row["layer"],
                        norm=float(row["norm"]),
                    )
                    for row in rows
                ]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self._gradients_file} is damaged; delete it to leave it out"
            ) from error

    def delete(self) -> None:
        """Remove all that was recorded."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def write_gradients(self, phase: str, epoch: int, norms: Mapping[str, float]) -> None:
        """Keep an epoch; what was recorded of it and of later ones before is replaced.

        Args:
            phase: the phase's name.
            epoch: counted from 1.
            norms: gradient norms by layer.

        Raises:
            OSError: the disk is full or failing.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = [row for row in self.gradients() if row.epoch < epoch]
        rows += [GradientNorm(self.stage, phase, epoch, *item) for item in norms.items()]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(GRADIENTS)
        writer.writerows(
            (row.stage, row.phase, row.epoch, row.layer, f"{row.norm:.6g}") for row in rows
        )
        replace_atomically(self._gradients_file, text.getvalue().encode())

    def write_weights(self, file: Path, backbone: NewestBackbone) -> None:
        """Keep the weights of the first or the last epoch in its file.

        Raises:
            OSError: the disk is full or failing.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_atomically(file, _encoded(backbone))


def load_weights(file: Path, network: ExpandableNetwork) -> None:
    """Give `network` the newest backbone that a file of a history holds.

    Raises:
        RunError: the file is damaged, or of another network.
    """
    try:
        weights = safetensors.torch.load(file.read_bytes())
        NewestBackbone.of(network).load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise RunError(f"{file} is damaged; delete it to leave it out") from error


def _encoded(backbone: NewestBackbone) -> bytes:
    """The weights and buffers as the bytes of one file."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()
    }
    return safetensors.torch.save(tensors)


class EpochRecorder:
    """Writes the history of a phase while it is trained.

    Args:
        history: of the stage.
        phase: the phase's name.
        network: what is trained.
    """

    def __init__(self, history: StageHistory, phase: str, network: ExpandableNetwork) -> None:
        self._history, self._phase = history, phase
        self._backbone = NewestBackbone.of(network)
        self._norms = GradientNorms(self._backbone)

    def after_backward(self) -> None:
        """Count the gradients of a step."""
        self._norms.add()

    def after_epoch(self, epoch: int) -> None:
        """Write what epoch `epoch`, counted from 1, came to."""
        if epoch == 1:
            self._history.write_weights(self._history.first_epoch_file, self._backbone)
        self._history.write_gradients(self._phase, epoch, self._norms.take())

    def after_phase(self) -> None:
        """Write the weights after the last epoch, with the statistics that are kept."""
        self._history.write_weights(self._history.last_epoch_file, self._backbone)


class History:
    """The history of a run.

    Args:
        folder: where it is; nothing is recorded where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_kept(self) -> bool:
        """Whether the run records its history."""
        return self.folder.exists()

    def start(self) -> None:
        """Record from now on."""
        self.folder.mkdir(exist_ok=True)

    def stages(self) -> list[StageHistory]:
        """Every stage of which something was recorded, first one first."""
        names = (path.name for path in self.folder.glob("stage-*") if path.is_dir())
        numbers = sorted(int(name.removeprefix("stage-")) for name in names)
        return [self.of_stage(stage) for stage in numbers]

    def of_stage(self, stage: int) -> StageHistory:
        """That of one stage."""
        return StageHistory(self.folder / f"stage-{stage:02d}", stage)

    def recorder(self, stage: int, phase: str, network: ExpandableNetwork) -> EpochRecorder | None:
        """What records a phase; None where no history is kept."""
        if not self.is_kept:
            return None
        return EpochRecorder(self.of_stage(stage), phase, network)
