"""Layers and groups are those of the network, named from shallow to deep."""

import numpy as np
import pytest
import torch
from torch import nn

from edgecil.analysis.views import FEATURES, feature_maps, layer_changes
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.newest import NewestBackbone


def network(backbone: str, cut: str, blocks: int = 2) -> ExpandableNetwork:
    torch.manual_seed(3)
    parts = cut_backbone(backbone, cut)
    return ExpandableNetwork(parts, 4, blocks, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).eval()


@pytest.mark.parametrize(
    ("backbone", "layers", "groups"),
    [
        ("convnet2", "1 2", "group 1, group 2"),
        ("convnet4", "1 2 3 4", "group 1, group 2, group 3, group 4"),
        ("resnet14", "stem 1.1 1.2 2.1 2.2 3.1 3.2", "stem, group 1, group 2, group 3"),
        (
            "resnet18",
            "stem 1.1 1.2 2.1 2.2 3.1 3.2 4.1 4.2",
            "stem, group 1, group 2, group 3, group 4",
        ),
        (
            "resnet26-bottleneck",
            "stem 1.1 1.2 2.1 2.2 3.1 3.2 4.1 4.2",
            "stem, group 1, group 2, group 3, group 4",
        ),
    ],
)
@pytest.mark.parametrize("cut", ["last", "whole"])
def test_every_parameter_of_the_newest_backbone_is_in_one_layer(
    backbone: str, layers: str, groups: str, cut: str
) -> None:
    with torch.device("meta"):
        parts = cut_backbone(backbone, cut)
        newest = NewestBackbone(parts.trunk(), parts.block())
    assert list(newest.layers()) == layers.split()
    assert list(newest.groups()) == groups.split(", ")
    assert newest.trunk_groups == (0 if cut == "whole" else len(newest.groups()) - 1)
    found = [id(p) for layer in newest.layers().values() for p in layer.parameters()]
    assert sorted(found) == sorted(map(id, newest.parameters()))


@pytest.mark.parametrize("cut", ["last", "last-two", "whole"])
def test_feature_maps_end_in_the_features_of_the_newest_block(cut: str) -> None:
    learner = network("resnet14", cut)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        maps = feature_maps(learner, pixels)
        assert list(maps) == ["stem", "group 1", "group 2", "group 3", FEATURES]
        assert [m.shape[1:] for m in maps.values()] == [
            (16, 16, 16),
            (16, 16, 16),
            (32, 8, 8),
            (64, 4, 4),
            (64,),
        ]
        torch.testing.assert_close(maps[FEATURES], learner.block_features(pixels)[-1])


def test_change_is_the_mean_of_squares_over_a_layers_weights_and_biases() -> None:
    first, last = (NewestBackbone.of(network("convnet2", "last")) for _ in range(2))
    with torch.no_grad():
        for parameter in last.layers()["2"].parameters():
            parameter.add_(3)
        convolution = next(m for m in last.layers()["1"].modules() if isinstance(m, nn.Conv2d))
        nn.init.constant_(convolution.bias, 2)  # type: ignore[arg-type]
        convolution = next(m for m in first.layers()["1"].modules() if isinstance(m, nn.Conv2d))
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        for statistics in last.layers()["1"].buffers():
            statistics += 7
    # 64 biases of 64 * 27 + 64 + 64 + 64 parameters moved by 2.
    changes = layer_changes(first, last)
    assert changes["1"].mean_squared == pytest.approx(64 * 4 / 1920)
    assert changes["2"].mean_squared == pytest.approx(9, rel=1e-5)
    parameters = [p.detach().numpy() for p in first.layers()["1"].parameters()]
    squares = sum((p.astype(np.float64) ** 2).sum() for p in parameters)
    assert changes["1"].relative == pytest.approx(64 * 4 / squares, rel=1e-5)
