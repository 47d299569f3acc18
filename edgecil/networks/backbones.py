"""Every backbone by its name, and the places where one can be cut into trunk and block."""

from collections.abc import Callable
from dataclasses import dataclass

import torchvision
from torch import nn

from edgecil.errors import UsageError
from edgecil.networks.layers import cifar_resnet_groups, convnet_groups, pooled

CUTS = {"last": 1, "last-two": 2}
"""How many of a backbone's groups belong to the specialised block: MEMO and MEMO-2."""


@dataclass(frozen=True)
class Backbone:
    """A feature extractor as a list of groups, shallow to deep."""

    name: str
    """What `--backbone` calls it."""
    groups: Callable[[], list[nn.Module]]
    """Builds the groups afresh; the last ends in global average pooling, (N, feature_size)."""
    feature_size: int
    """Features per image and block."""
    smallest_image_px: int
    """The planner proposes the backbone for images of at least this size ..."""
    largest_image_px: int
    """... and at most this size."""


@dataclass(frozen=True)
class Parts:
    """A backbone cut in two; each call builds fresh weights from torch's global generator."""

    trunk: Callable[[], nn.Module]
    """Generalised blocks: normalised images (N, 3, S, S) -> feature map."""
    block: Callable[[], nn.Module]
    """Specialised block: feature map -> features (N, feature_size)."""
    feature_size: int


def _torchvision_groups(name: str) -> list[nn.Module]:
    net = torchvision.models.get_model(name, weights=None)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return [stem, net.layer1, net.layer2, net.layer3, pooled(net.layer4)]


def _cifar_resnet(depth: int) -> Backbone:
    blocks_per_group = (depth - 2) // 6
    return Backbone(f"resnet{depth}", lambda: cifar_resnet_groups(blocks_per_group), 64, 1, 64)


def _imagenet_resnet(depth: int, feature_size: int) -> Backbone:
    name = f"resnet{depth}"
    return Backbone(name, lambda: _torchvision_groups(name), feature_size, 65, 1 << 30)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("convnet2", convnet_groups, 64, 1, 64),
        _cifar_resnet(14),
        _cifar_resnet(20),
        _cifar_resnet(26),
        _cifar_resnet(32),
        _imagenet_resnet(18, 512),
        _imagenet_resnet(34, 512),
        _imagenet_resnet(50, 2048),
    )
}
"""All backbones, small to large within each range of image sizes."""


def cut_backbone(name: str, cut: str = "last") -> Parts:
    """Cut the backbone `name` so that its last group (or two) is the specialised block.

    Source: MEMO (Zhou et al., ICLR 2023), section 4; `last-two` is MEMO-2 of its appendix B.1.

    Raises:
        UsageError: an unknown backbone or cut, or a cut that leaves no trunk.
    """
    if name not in BACKBONES:
        raise UsageError(f"unknown backbone {name!r}; choose one of: {', '.join(BACKBONES)}")
    if cut not in CUTS:
        raise UsageError(f"unknown cut {cut!r}; choose one of: {', '.join(CUTS)}")
    backbone, depth = BACKBONES[name], CUTS[cut]
    if depth >= len(backbone.groups()):
        raise UsageError(f"{name} cannot be cut at {cut!r}, no trunk would be left; use 'last'")

    return Parts(
        trunk=lambda: nn.Sequential(*backbone.groups()[:-depth]),
        block=lambda: nn.Sequential(*backbone.groups()[-depth:]),
        feature_size=backbone.feature_size,
    )
