"""What the last finished task of a run left, read once for all that goes into a bundle.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from torch import Tensor

from edgecil.data import is_here
from edgecil.errors import DataError, ExportError
from edgecil.evaluation.nearest_mean import exemplar_means, nearest_mean_bias, nearest_mean_logits
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil.training.known_pictures import old_without_repeats
from edgecil.training.run import Run
from edgecil.training.run_data import RunData, load_source
from edgecil.training.settings import RunSettings
from edgecil_devices.manifest import Accuracy
from edgecil_export.parity import Pixels
from edgecil_export.precision import Floats


@dataclass(frozen=True)
class OpenedRun:
    """A run that is exported."""

    run: Run
    """The folder."""
    settings: RunSettings | None
    """Of the run; None where the folder holds a state and nothing else."""
    state: State
    """What its last finished task left."""
    network: ExpandableNetwork
    """The state's."""
    means: Tensor | None
    """(C, K*D), the means of the exemplars, if these are to be the classifier."""

    @classmethod
    def read(cls, folder: Path, classifier: str = "linear") -> "OpenedRun":
        """Read a run that is to classify by `classifier`.

        Raises:
            ExportError: the classifier wants exemplars that the state does not keep.
            RunError, StateError: the run cannot be read.
        """
        run, state = Run(folder), State.read(folder / "state")
        settings, network = run.settings() if run.exists else None, state.network()
        means = _means(state, network) if classifier == "nearest-mean" else None
        return cls(run, settings, state, network, means)

    @property
    def tasks(self) -> tuple[range, ...]:
        """The classes of each task."""
        ends = accumulate(self.state.settings.task_sizes, initial=0)
        return tuple(range(start, end) for start, end in pairwise(ends))

    def data(self, data_dir: Path | None) -> RunData:
        """Its pictures, as far as they are on this machine, without those that it left out.

        Args:
            data_dir: where built-in data sets are; nothing is downloaded.

        Raises:
            EdgecilError, OSError, ValueError: there is nothing that says where they are, or some
                are there and cannot be read.
        """
        if self.settings is None:
            raise DataError(f"nothing in {self.run.folder} says what it was trained on")
        datasets = [
            load_source(self.settings, source, data_dir) if is_here(source.data, data_dir) else None
            for source in self.settings.sources
        ]
        return RunData(old_without_repeats(datasets, self.state), self.settings.tasks)

    @property
    def head(self) -> Floats:
        """(C, K*D+1): each class's weights and, last, its bias."""
        if self.means is None:
            weight, bias = self.network.head.weight.detach(), self.network.head.bias.detach()
        else:
            weight, bias = self.means, nearest_mean_bias(self.means)
        table: Floats = torch.cat([weight, bias[:, None]], dim=1).numpy()
        return table

    def logits(self, pixels: Pixels) -> Floats:
        """What the network says as the state has it: (N, S, S, 3) -> (N, C)."""
        with torch.inference_mode():
            features = self.network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            if self.means is not None:
                return nearest_mean_logits(features, self.means).numpy()
            found: Tensor = self.network.head(features)
            return found.numpy()

    def accuracy(self) -> Accuracy | None:
        """What the run measured after the task that the state is of."""
        learned = self.state.settings
        for result in self.run.stage_results():
            if result.stage != learned.stage:
                continue
            by_task = [accuracy for accuracy in result.accuracy_by_task if accuracy is not None]
            whole = result.whole_accuracy is not None
            linear = self.means is None
            overall = result.accuracy if linear else result.nearest_mean_accuracy
            if overall is None or not (whole or result.measured_classes):
                return None
            every_task = linear and len(by_task) == len(learned.task_sizes)
            covered = None if whole else result.measured_classes
            return Accuracy(overall, tuple(by_task) if every_task else (), covered)
        return None


def _means(state: State, network: ExpandableNetwork) -> Tensor:
    if not state.exemplars.counts.all():
        raise ExportError(
            "the nearest mean needs an exemplar of every class, and the state does not keep one; "
            "export with --classifier linear"
        )
    return exemplar_means(network, state.exemplars, state.settings.preprocessing)
