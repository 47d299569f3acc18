"""What goes into a bundle: graphs and a head, and what these compute, to compare with.

Shapes: N images, S image size, K blocks, D features a block, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecil.work import work
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
from edgecil_export.opened_run import OpenedRun
from edgecil_export.parity import Pixels
from edgecil_export.precision import Floats, Stored, store, store_head
from edgecil_export.quantisation import quantised_graphs

HEAD_NAME = "head.npy"


@dataclass(frozen=True)
class Contents:
    """The network as a bundle holds it."""

    graphs: dict[str, bytes]
    """Trunk and blocks by name."""
    features: Callable[[Pixels], Floats]
    """What the graphs compute, worked out without the bundle: (N, S, S, 3) -> (N, K*D)."""
    map_means: Callable[[Pixels], Floats]
    """The trunk's feature map, averaged over its positions: (N, S, S, 3) -> (N, M)."""
    head: Stored
    """(C, K*D+1), the bias last."""
    unit_features: bool
    """Whether features are scaled to unit length first."""

    @property
    def blobs(self) -> dict[str, bytes]:
        """Trunk, blocks and head by name."""
        return self.graphs | {HEAD_NAME: npy(self.head.values)}

    def head_features(self, pixels: Pixels) -> Floats:
        """Features as the head takes them: (N, S, S, 3) -> (N, K*D)."""
        features = torch.from_numpy(self.features(pixels))
        return (F.normalize(features, dim=1) if self.unit_features else features).numpy()

    def logits(self, pixels: Pixels) -> Floats:
        """Pixels (N, S, S, 3) -> logits (N, C)."""
        return self.head_logits(self.head_features(pixels))

    def head_logits(self, head_features: Floats) -> Floats:
        """Features as the head takes them, (N, K*D) -> logits (N, C)."""
        table = torch.from_numpy(self.head.restored)
        return F.linear(torch.from_numpy(head_features), table[:, :-1], table[:, -1]).numpy()


def contents_in_fp32(opened: OpenedRun, weights: str) -> Contents:
    """Graphs that compute in float32; the comparison is torch with the same rounded weights.

    Args:
        opened: the run.
        weights: how weights are stored.

    Raises:
        ExportError: the network cannot be a bundle.
    """
    network, image_size_px = opened.network, opened.state.settings.image_size_px
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    blocks = [for_inference(block) for block in network.blocks]
    pixels = torch.zeros(1, image_size_px, image_size_px, 3, dtype=torch.uint8)
    names = ["trunk.onnx", *(f"block-{k:02}.onnx" for k in range(len(blocks)))]
    graphs = {}
    with work("exporting graphs", 2 + len(names)) as done:
        templates = [trunk_template(trunk, image_size_px)]
        done(1)
        templates += [block_template(blocks[0], trunk(pixels))] * len(blocks)
        done(1)
        for name, module, template in zip(names, [trunk, *blocks], templates, strict=True):
            stored = {key: store(tensor, weights) for key, tensor in tensors_of(module).items()}
            graphs[name] = with_weights(template, stored)
            _load_restored(module, stored)
            done(1)

    def features(pixels: Pixels) -> Floats:
        with torch.inference_mode():
            feature_map = trunk(torch.from_numpy(pixels))
            return torch.cat([block(feature_map) for block in blocks], dim=1).numpy()

    def map_means(pixels: Pixels) -> Floats:
        with torch.inference_mode():
            means: Floats = trunk(torch.from_numpy(pixels)).mean(dim=(2, 3)).numpy()
            return means

    head = store_head(opened.head, weights)
    return Contents(graphs, features, map_means, head, opened.means is not None)


def contents_in_int8(in_fp32: Contents, calibration: Sequence[Pixels]) -> Contents:
    """Graphs that compute in eight bits; the comparison is these graphs, each run alone.

    Args:
        in_fp32: graphs in float32, weights too.
        calibration: K times (N, S, S, 3), pictures to find the ranges of activations on.

    Raises:
        ExportError: a graph or the head cannot be rounded.
    """
    graphs = quantised_graphs(in_fp32.graphs, calibration)
    trunk, *blocks = (Graph(model, name, 1, "int8") for name, model in graphs.items())

    def features(pixels: Pixels) -> Floats:
        (feature_map,) = trunk.run(pixels)
        return np.concatenate([block.run(feature_map)[0] for block in blocks], axis=1)

    def map_means(pixels: Pixels) -> Floats:
        (feature_map,) = trunk.run(pixels)
        means: Floats = feature_map.mean(axis=(2, 3))
        return means

    head = store_head(in_fp32.head.values, "int8")
    return replace(in_fp32, graphs=graphs, features=features, map_means=map_means, head=head)


def _load_restored(module: nn.Module, stored: dict[str, Stored]) -> None:
    tensors: dict[str, Tensor] = {
        name: torch.from_numpy(weight.restored) for name, weight in stored.items()
    }
    module.load_state_dict(tensors)
