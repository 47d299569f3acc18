"""Every backbone by its name, and the places where one can be cut into trunk and block.

torch is imported when a network is built, so that the names are known without it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from edgecil.errors import UsageError
from edgecil.networks import sources
from edgecil.networks.sources import Pretrained, PretrainedCut, WeightsSource

if TYPE_CHECKING:
    from torch import nn

CUTS = ("last", "last-two", "whole")
"""Which of a backbone's groups become the specialised block: MEMO, MEMO-2, and DER, whose trunk is
empty. A backbone that comes pretrained has cuts of its own."""


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
    published_name: Callable[[str], str] = str
    """What published files call the tensor that a sequence of the groups calls so."""
    pretrained: Pretrained | None = None
    """What it starts from; None where it starts at random."""
    least_image_px: int = 1
    """Height and width below which a layer is left nothing of an image."""


@dataclass(frozen=True)
class Parts:
    """A backbone cut in two; each call builds fresh weights from torch's global generator."""

    trunk: "Callable[[], nn.Module]"
    """Generalised blocks: normalised images (N, 3, S, S) -> feature map."""
    block: "Callable[[], nn.Module]"
    """Specialised block: feature map -> features (N, feature_size)."""
    feature_size: int
    frozen_trunk: bool = False
    """Whether the trunk never learns: it comes pretrained, and without BatchNorm."""
    pretrained_block: bool = False
    """Whether the first block comes pretrained, too."""


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


def _resnet_name(name: str) -> str:
    """What torchvision calls a tensor of the groups above."""
    group, _, rest = name.partition(".")
    if group == "0":
        return rest.replace("0.", "conv1.", 1) if rest[0] == "0" else rest.replace("1.", "bn1.", 1)
    return f"layer{group}.{rest.removeprefix('0.') if group == '4' else rest}"


def _mobilenet_groups(size: str) -> "list[nn.Module]":
    from torchvision.models import mobilenetv3

    from edgecil.networks.layers import pooled

    *groups, last = getattr(mobilenetv3, f"mobilenet_v3_{size}")(weights=None).features
    return [*groups, pooled(last)]


def _mobilenet_name(last_group: str, name: str) -> str:
    """What torchvision calls a tensor of the groups above."""
    group, _, rest = name.partition(".")
    return f"features.{group}.{rest.removeprefix('0.') if group == last_group else rest}"


def _lite0_groups() -> "list[nn.Module]":
    from edgecil.networks.efficientnet_lite import lite0_groups

    return lite0_groups()


def _lite0_name(name: str) -> str:
    """What the published file calls a tensor of those groups."""
    group, _, rest = name.partition(".")
    if group == "0":
        return rest.replace("conv.", "_conv_stem.").replace("bn.", "_bn0.")
    return f"_blocks.{int(group) - 1}._{rest.removeprefix('0.') if group == '16' else rest}"


def _cifar_resnet(depth: int, width: int = 1) -> Backbone:
    blocks_per_group = (depth - 2) // 6
    name = f"resnet{depth}" if width == 1 else f"resnet{depth}x{width}"
    groups = partial(_own_groups, "cifar_resnet_groups", blocks_per_group, width)
    return Backbone(name, groups, 64 * width, 1, 64, width)


def _imagenet_resnet(name: str, block: str, feature_size: int, *blocks_per_group: int) -> Backbone:
    layers = list(blocks_per_group)
    return Backbone(
        name,
        lambda: _imagenet_groups(block, layers),
        feature_size,
        65,
        1 << 30,
        published_name=_resnet_name,
    )


_THIN = 128
"""Features of `edgecil.networks.layers.thin_block`."""


def _thin_and_copied(
    source: WeightsSource, trunk_groups: int, channels: int, stride: int, feature_size: int
) -> Pretrained:
    """The two cuts before the last stage: behind the trunk a thin block, or that stage as it is."""
    return Pretrained(
        source,
        (
            PretrainedCut("thin", trunk_groups, _THIN, (channels, stride)),
            PretrainedCut("copied", trunk_groups, feature_size, None),
        ),
    )


def _mobilenet(
    size: str, groups: int, channels: int, feature_size: int, source: WeightsSource
) -> Backbone:
    return Backbone(
        f"mobilenet-v3-{size}",
        lambda: _mobilenet_groups(size),
        feature_size,
        96,
        224,
        published_name=partial(_mobilenet_name, str(groups - 1)),
        pretrained=_thin_and_copied(source, groups - 2, channels, 1, feature_size),
    )


_LITE0 = Backbone(
    "efficientnet-lite0",
    _lite0_groups,
    320,
    96,
    224,
    published_name=_lite0_name,
    pretrained=Pretrained(
        sources.LITE0,
        (
            PretrainedCut("b14", 16, _THIN, (192, 1)),
            PretrainedCut("b10", 12, _THIN, (112, 2)),
            PretrainedCut("b14-copied", 16, 320, None),
        ),
        # Not ImageNet's, as the package's own page has it: that costs 16 points.
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        # Every group halves what it is given and drops what is odd; ConvNet4's first quarters it.
        Backbone("convnet2", partial(_own_groups, "convnet2_groups"), 64, 4, 64, least_image_px=4),
        _cifar_resnet(14),
        _cifar_resnet(20),
        _cifar_resnet(26),
        _cifar_resnet(32),
        # With twice the channels, and so four times the parameters.
        _cifar_resnet(14, 2),
        _cifar_resnet(20, 2),
        _cifar_resnet(32, 2),
        Backbone(
            "convnet4", partial(_own_groups, "convnet4_groups"), 512, 65, 1 << 30, least_image_px=31
        ),
        _imagenet_resnet("resnet10", "BasicBlock", 512, 1, 1, 1, 1),
        _imagenet_resnet("resnet18", "BasicBlock", 512, 2, 2, 2, 2),
        # The papers call it ResNet26, as they do CIFAR's, which is another network.
        _imagenet_resnet("resnet26-bottleneck", "Bottleneck", 2048, 2, 2, 2, 2),
        _imagenet_resnet("resnet34", "BasicBlock", 512, 3, 4, 6, 3),
        _imagenet_resnet("resnet50", "Bottleneck", 2048, 3, 4, 6, 3),
        _LITE0,
        _mobilenet("small", 13, 96, 576, sources.MOBILENET_V3_SMALL),
        _mobilenet("large", 17, 160, 960, sources.MOBILENET_V3_LARGE),
        replace(
            _imagenet_resnet("resnet18-imagenet", "BasicBlock", 512, 2, 2, 2, 2),
            smallest_image_px=96,
            largest_image_px=224,
            pretrained=_thin_and_copied(sources.RESNET18, 4, 256, 2, 512),
        ),
    )
}
"""The backbones that the planner knows, small to large within each range of image sizes; those that
come pretrained are last. See `backbone_named` for others."""


_WIDE = re.compile(r"resnet(14|20|26|32)x(\d{1,2})")


def backbone_named(name: str) -> Backbone:
    """The backbone called `name`; resnet20x3 is resnet20 with three times the channels.

    Raises:
        UsageError: there is none of that name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    wide = _WIDE.fullmatch(name)
    if wide and int(wide[2]) > 1:
        return _cifar_resnet(int(wide[1]), int(wide[2]))
    raise UsageError(
        f"unknown backbone {name!r}; choose one of: {', '.join(BACKBONES)}; resnet14, 20, 26 and "
        "32 may have any width, as in resnet14x4"
    )


def refuse_small_images(name: str, image_size_px: int) -> None:
    """Refuse images of which a layer of the backbone called `name` would be left nothing.

    Raises:
        UsageError: they are too small, or there is no such backbone.
    """
    least_px = backbone_named(name).least_image_px
    if image_size_px < least_px:
        raise UsageError(
            f"{name} takes pictures of {least_px} px or more, and these have {image_size_px}; "
            "give --image-size or another --backbone"
        )


def pretrained_named(name: str | None) -> Pretrained | None:
    """What the backbone called `name` starts from; None where it starts at random."""
    return BACKBONES[name].pretrained if name in BACKBONES else None


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
    backbone = backbone_named(name)
    if backbone.pretrained:
        return _frozen_parts(backbone, backbone.pretrained.cut_named(name, cut))
    if cut not in CUTS:
        raise UsageError(f"unknown cut {cut!r}; choose one of: {', '.join(CUTS)}")
    if not can_be_cut(backbone, cut):
        raise UsageError(f"{name} cannot be cut at {cut!r}, no trunk would be left; use 'last'")
    from torch import nn

    first = {"last": -1, "last-two": -2, "whole": 0}[cut]

    return Parts(
        trunk=lambda: nn.Sequential(*(backbone.groups()[:first] if first else ())),
        block=lambda: nn.Sequential(*backbone.groups()[first:]),
        feature_size=backbone.feature_size,
    )


def _frozen_parts(backbone: Backbone, cut: PretrainedCut) -> Parts:
    """A trunk without BatchNorm, for its pretrained weights, and a block behind it."""
    from torch import nn

    from edgecil.networks.folding import without_batch_norms
    from edgecil.networks.layers import thin_block

    def block() -> nn.Module:
        behind = [thin_block(*cut.thin_after)] if cut.thin_after else backbone.groups()
        return nn.Sequential(*(behind if cut.thin_after else behind[cut.trunk_groups :]))

    return Parts(
        lambda: without_batch_norms(nn.Sequential(*backbone.groups()[: cut.trunk_groups])),
        block,
        cut.feature_size,
        frozen_trunk=True,
        pretrained_block=cut.thin_after is None,
    )
