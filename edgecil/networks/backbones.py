"""Every backbone by its name, and the places where one can be cut into trunk and block.

torch is imported when a network is built, so that the names are known without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgecil.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

CUTS = ("last", "last-two", "whole")
"""Which of a backbone's groups become the specialised block: MEMO, MEMO-2, and DER, whose trunk is
empty."""


@dataclass(frozen=True)
class Backbone:
    """A feature extractor as a list of groups, shallow to deep."""

    name: str
    """What `--backbone` calls it."""
    groups: "Callable[[], list[nn.Module]]"
    """Builds the groups afresh; the last ends in global average pooling, (N, feature_size)."""
    feature_size: int
    """Features per image and block."""
    smallest_image_px: int
    """The planner proposes the backbone for images of at least this size ..."""
    largest_image_px: int
    """... and at most this size."""
    width: int = 1
    """Channels, as a multiple of the published network's."""


@dataclass(frozen=True)
class Parts:
    """A backbone cut in two; each call builds fresh weights from torch's global generator."""

    trunk: "Callable[[], nn.Module]"
    """Generalised blocks: normalised images (N, 3, S, S) -> feature map."""
    block: "Callable[[], nn.Module]"
    """Specialised block: feature map -> features (N, feature_size)."""
    feature_size: int


def _own_groups(builder: str, *sizes: int) -> "list[nn.Module]":
    from edgecil.networks import layers

    groups: list[nn.Module] = getattr(layers, builder)(*sizes)
    return groups


def _imagenet_groups(block: str, layers: list[int]) -> "list[nn.Module]":
    from torch import nn
    from torchvision.models import resnet  # takes as long to import as torch itself

    from edgecil.networks.layers import pooled

    net = resnet.ResNet(getattr(resnet, block), layers)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return [stem, net.layer1, net.layer2, net.layer3, pooled(net.layer4)]


def _cifar_resnet(depth: int, width: int = 1) -> Backbone:
    blocks_per_group = (depth - 2) // 6
    name = f"resnet{depth}" if width == 1 else f"resnet{depth}x{width}"
    groups = partial(_own_groups, "cifar_resnet_groups", blocks_per_group, width)
    return Backbone(name, groups, 64 * width, 1, 64, width)


def _imagenet_resnet(name: str, block: str, feature_size: int, *blocks_per_group: int) -> Backbone:
    layers = list(blocks_per_group)
    return Backbone(name, lambda: _imagenet_groups(block, layers), feature_size, 65, 1 << 30)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("convnet2", partial(_own_groups, "convnet2_groups"), 64, 1, 64),
        _cifar_resnet(14),
        _cifar_resnet(20),
        _cifar_resnet(26),
        _cifar_resnet(32),
        # With twice the channels, and so four times the parameters.
        _cifar_resnet(14, 2),
        _cifar_resnet(20, 2),
        _cifar_resnet(32, 2),
        Backbone("convnet4", partial(_own_groups, "convnet4_groups"), 512, 65, 1 << 30),
        _imagenet_resnet("resnet10", "BasicBlock", 512, 1, 1, 1, 1),
        _imagenet_resnet("resnet18", "BasicBlock", 512, 2, 2, 2, 2),
        # The papers call it ResNet26, as they do CIFAR's, which is another network.
        _imagenet_resnet("resnet26-bottleneck", "Bottleneck", 2048, 2, 2, 2, 2),
        _imagenet_resnet("resnet34", "BasicBlock", 512, 3, 4, 6, 3),
        _imagenet_resnet("resnet50", "Bottleneck", 2048, 3, 4, 6, 3),
    )
}
"""All backbones, small to large within each range of image sizes."""


def can_be_cut(backbone: Backbone, cut: str) -> bool:
    """Whether the cut leaves a trunk, or is to leave none."""
    import torch

    with torch.device("meta"):
        return cut != "last-two" or len(backbone.groups()) > 2


def cut_backbone(name: str, cut: str = "last") -> Parts:
    """Cut the backbone `name` so that its last group, two, or all are the specialised block.

    Source: MEMO (Zhou et al., ICLR 2023), section 4; `last-two` is MEMO-2 of its appendix B.1.

    Raises:
        UsageError: an unknown backbone or cut, or a cut that leaves no trunk.
    """
    if name not in BACKBONES:
        raise UsageError(f"unknown backbone {name!r}; choose one of: {', '.join(BACKBONES)}")
    if cut not in CUTS:
        raise UsageError(f"unknown cut {cut!r}; choose one of: {', '.join(CUTS)}")
    backbone = BACKBONES[name]
    if not can_be_cut(backbone, cut):
        raise UsageError(f"{name} cannot be cut at {cut!r}, no trunk would be left; use 'last'")
    from torch import nn

    first = {"last": -1, "last-two": -2, "whole": 0}[cut]

    return Parts(
        trunk=lambda: nn.Sequential(*(backbone.groups()[:first] if first else ())),
        block=lambda: nn.Sequential(*backbone.groups()[first:]),
        feature_size=backbone.feature_size,
    )
