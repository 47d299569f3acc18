"""The three views of shallow and deep layers, as numbers.

They follow section 3.3 and figure 3 of MEMO (Zhou et al., ICLR 2023). `edgecil.networks.newest`
says what a layer is and which network is looked at: the newest backbone.

1. Gradient norm by layer over the epochs of a task: `edgecil.training.gradients`. Layers of a
   frozen trunk have none.
2. Mean squared change by layer between the first and the last epoch of a stage, `layer_changes`.
   Both ends are of the same stage, so the newest block is compared with itself after one epoch,
   not with the older block that it started from. Layers of a frozen trunk have 0.
3. Similarity of the feature maps of all stages' newest backbones, on the same test images,
   `similarities`. With MEMO their trunk is one that went on training and their blocks are
   different ones; with DER they are different backbones.

Shapes: N images, S stages.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from edgecil.analysis.cka import SMALLEST_BATCH, Doubles, MinibatchCKA, gram
from edgecil.errors import UsageError
from edgecil.networks import ExpandableNetwork
from edgecil.networks.newest import NewestBackbone

FEATURES = "features"
"""The name of the depth after global average pooling."""

BATCH = 256
"""Most images of a minibatch."""


class LayerChange(NamedTuple):
    """How far a layer's parameters went."""

    mean_squared: float
    """Mean over the parameters of the squared difference; the paper's measure."""
    relative: float
    """Squared length of the difference over that of the first; nan where the first is 0.

    Deep layers have smaller weights, having more inputs, so that the mean alone tells little.
    """


def layer_changes(first: NewestBackbone, last: NewestBackbone) -> dict[str, LayerChange]:
    """How far every layer went from one state of a backbone to another, by layer.

    BatchNorm's weights and biases count, its running statistics do not.
    """
    changes = {}
    layers = zip(first.layers().items(), last.layers().values(), strict=True)
    for (name, layer), later in layers:
        before, after = (
            parameters_to_vector(each.parameters()).detach().double() for each in (layer, later)
        )
        squares = (after - before).square()
        relative = squares.sum() / before.square().sum()
        changes[name] = LayerChange(squares.mean().item(), relative.item())
    return changes


def feature_maps(network: ExpandableNetwork, pixels: Tensor) -> dict[str, Tensor]:
    """The output of every group of the newest backbone, and the features.

    Args:
        network: of at least one block.
        pixels: (N, 3, S, S) in 0..255.

    Returns:
        (N, C, H, W) by the group's name, shallow to deep, and (N, D) as `FEATURES`.
    """
    maps = {}
    output = network.normalise(pixels)
    for name, group in NewestBackbone.of(network).groups().items():
        output = maps[name] = group(output)
    maps[FEATURES] = output.mean(dim=(2, 3))
    return maps


def require_enough(image_count: int) -> None:
    """Check that CKA can be computed of so many images.

    Raises:
        UsageError: it cannot.
    """
    if image_count < SMALLEST_BATCH:
        raise UsageError(
            f"{image_count} images are too few for CKA; give at least {SMALLEST_BATCH}"
        )


def similarities(
    networks: Sequence[ExpandableNetwork], pixels: NDArray[np.uint8], device: torch.device
) -> dict[str, Doubles]:
    """Linear CKA between the networks' feature maps of the same images, by depth.

    Args:
        networks: S, of one backbone and cut.
        pixels: (N, S, S, 3) in 0..255, in random order: minibatches are taken as they come.
        device: where to compute.

    Returns:
        (S, S) by the name of the depth.

    Raises:
        UsageError: there are too few images.
    """
    require_enough(len(pixels))
    for network in networks:
        network.to(device).eval()
    cka: dict[str, MinibatchCKA] = {}
    with torch.inference_mode():
        for some in np.array_split(pixels, math.ceil(len(pixels) / BATCH)):
            batch = torch.from_numpy(some).permute(0, 3, 1, 2).to(device)
            grams: dict[str, list[Doubles]] = {}
            for network in networks:
                for depth, output in feature_maps(network, batch).items():
                    grams.setdefault(depth, []).append(gram(output))
            for depth, found in grams.items():
                cka.setdefault(depth, MinibatchCKA(len(networks))).add(found)
    return {depth: one.matrix() for depth, one in cka.items()}
