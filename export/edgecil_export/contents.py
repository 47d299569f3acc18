"""What goes into a bundle: graphs and a head, and what these compute, to compare with.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.errors import ExportError
from edgecil.evaluation.nearest_mean import nearest_mean_bias
from edgecil.networks import ExpandableNetwork
from edgecil_devices._onnxruntime import Graph
from edgecil_export.golden import npy
from edgecil_export.graphs import (
    block_template,
    folded_trunk,
    tensors_of,
    trunk_template,
    with_weights,
)
from edgecil_export.inference import for_inference
from edgecil_export.parity import Pixels
from edgecil_export.precision import Floats, Stored, store, to_half
from edgecil_export.quantisation import quantised_graphs

HEAD_NAME = "head.npy"


@dataclass(frozen=True)
class Contents:
    """The network as a bundle holds it."""

    blobs: dict[str, bytes]
    """Trunk, blocks and head by name."""
    features: Callable[[Pixels], Floats]
    """What the graphs compute, worked out without the bundle: (N, S, S, 3) -> (N, K*D)."""
    head: Floats
    """(C, K*D+1), the bias last."""
    unit_features: bool
    """Whether features are scaled to unit length first."""

    def logits(self, pixels: Pixels) -> Floats:
        """Pixels (N, S, S, 3) -> logits (N, C)."""
        features, table = torch.from_numpy(self.features(pixels)), torch.from_numpy(self.head)
        if self.unit_features:
            features = F.normalize(features, dim=1)
        return F.linear(features, table[:, :-1], table[:, -1]).numpy()


def contents_in_fp32(
    network: ExpandableNetwork, means: Tensor | None, image_size_px: int, weights: str
) -> Contents:
    """Graphs that compute in float32; the comparison is torch with the same rounded weights.

    Args:
        network: the network of a state.
        means: (C, K*D), where the head is to be that of the nearest mean.
        image_size_px: S.
        weights: how weights are stored.

    Raises:
        ExportError: the network cannot be a bundle.
    """
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    blocks = [for_inference(block) for block in network.blocks]
    pixels = torch.zeros(1, image_size_px, image_size_px, 3, dtype=torch.uint8)
    templates = [trunk_template(trunk, image_size_px)]
    templates += [block_template(blocks[0], trunk(pixels))] * len(blocks)
    names = ["trunk.onnx", *(f"block-{k:02}.onnx" for k in range(len(blocks)))]
    blobs = {}
    for name, module, template in zip(names, [trunk, *blocks], templates, strict=True):
        stored = {key: store(tensor, weights) for key, tensor in tensors_of(module).items()}
        blobs[name] = with_weights(template, stored)
        _load_restored(module, stored)

    def features(pixels: Pixels) -> Floats:
        with torch.inference_mode():
            feature_map = trunk(torch.from_numpy(pixels))
            return torch.cat([block(feature_map) for block in blocks], dim=1).numpy()

    table = _head(network, means, weights)
    blobs[HEAD_NAME] = npy(table)
    return Contents(blobs, features, table.astype(np.float32), means is not None)


def contents_in_int8(in_fp32: Contents, calibration: Sequence[Pixels]) -> Contents:
    """Graphs that compute in eight bits; the comparison is these graphs, each run alone.

    Args:
        in_fp32: graphs in float32, weights too.
        calibration: K times (N, S, S, 3), pictures to find the ranges of activations on.

    Raises:
        ExportError: a graph or the head cannot be rounded.
    """
    *names, head_name = in_fp32.blobs
    graphs = quantised_graphs({name: in_fp32.blobs[name] for name in names}, calibration)
    trunk, *blocks = (Graph(model, name, 1, "int8") for name, model in graphs.items())

    def features(pixels: Pixels) -> Floats:
        (feature_map,) = trunk.run(pixels)
        return np.concatenate([block.run(feature_map)[0] for block in blocks], axis=1)

    table = to_half(in_fp32.head)
    blobs = graphs | {head_name: npy(table)}
    return replace(in_fp32, blobs=blobs, features=features, head=table.astype(np.float32))


def _load_restored(module: nn.Module, stored: dict[str, Stored]) -> None:
    tensors: dict[str, Tensor] = {
        name: torch.from_numpy(weight.restored) for name, weight in stored.items()
    }
    module.load_state_dict(tensors)


def _head(network: ExpandableNetwork, means: Tensor | None, weights: str) -> NDArray[Any]:
    """(C, K*D+1): each class's weights and, last, its bias; half precision unless fp32."""
    if means is None:
        weight, bias = network.head.weight.detach(), network.head.bias.detach()
    else:
        weight, bias = means, nearest_mean_bias(means)
    table = torch.cat([weight, bias[:, None]], dim=1).numpy()
    if not np.isfinite(table).all():
        raise ExportError("the head holds values that are not finite; train the task again")
    return table if weights == "fp32" else to_half(table)
