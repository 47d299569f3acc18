"""Features of a task's pictures, class by class: to choose exemplars by, or to know classes by.

Shapes: n images, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch

from edgecil.errors import TrainingError
from edgecil.memory import weights
from edgecil.memory.state import network_modules
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import Images
from edgecil.work import work
from edgecil_devices.closed_form import ClassStatistics


def class_features(
    network: ExpandableNetwork,
    images: Images,
    indices: torch.Tensor,
    batch_size: int = 256,
) -> torch.Tensor:
    """Concatenated features of the plain images at `indices` (n,) -> (n, F) float32 on the CPU."""
    network.eval()
    features = []
    with torch.inference_mode(), work("computing features", len(indices)) as done:
        for pixels, _ in images.plain_batches(batch_size, indices):
            features.append(network.features(pixels).cpu())
            done(len(pixels))
    return torch.cat(features)


def round_as_kept(network: ExpandableNetwork, precision: str) -> None:
    """Give trunk and blocks the very weights that the state will keep of them.

    What is known of features must be known of those that the next task, and the device, will see.
    """
    for module in network_modules(network).values():
        if module is not network.head:
            weights.round_to(module, precision)


def with_new_classes(
    known: ClassStatistics | None,
    network: ExpandableNetwork,
    images: Images,
    of_classes: Sequence[torch.Tensor],
) -> ClassStatistics:
    """The statistics of the classes known before and of new ones, in one pass over the pictures.

    Pictures are seen once, as a test sees them. Mirrored and augmented copies beside them were no
    better (CIFAR-100, 10 classes of 50 pictures, five of them learned: within a point).

    Args:
        known: of the classes before; None where there are none.
        network: as it is kept.
        images: the task's images.
        of_classes: for each new class where its images are.

    Raises:
        TrainingError: a feature is not a finite number.
    """
    statistics = known or ClassStatistics.empty(network.head.in_features)
    for indices in of_classes:
        features = class_features(network, images, indices).numpy()
        if not np.isfinite(features).all():
            raise TrainingError(
                "the network has features that are not finite numbers; "
                "begin another run with a lower --learning-rate"
            )
        statistics = statistics.added(features, statistics.class_count)
    return statistics
