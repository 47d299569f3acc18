"""The backbones of the class-incremental literature that torchvision lacks, group by group.

Shapes: N images, C channels, H and W rows and columns.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F


class Shortcut(nn.Module):
    """A shortcut without parameters (option A of He et al. 2016, section 4.2).

    It takes every second row and column where a block halves the map, and adds zero channels where
    it widens it. A module of its own, so that export can put a faster equivalent in its place.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.channels_in, self.channels_out, self.stride = channels_in, channels_out, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        extra = self.channels_out - self.channels_in
        return F.pad(x, (0, 0, 0, 0, 0, extra)) if extra else x


def _conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that starts as He et al. (ICCV 2015) and the public code have it.

    Its weights are normal with variance 2 / (9 * channels_out), where torch's own start is uniform
    with a sixth of 2 / (9 * channels_in): PyCIL, `convs/cifar_resnet.py`.
    """
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ReLU follows the sum, in the last of a group too."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3x3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = Shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers in `modules`, each once."""
    layers = (layer for module in modules for layer in module.modules())
    return list(dict.fromkeys(each for each in layers if isinstance(each, nn.BatchNorm2d)))


def pooled(group: nn.Module) -> nn.Sequential:
    """`group` followed by global average pooling: feature map -> (N, C)."""
    return nn.Sequential(group, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def cifar_resnet_groups(blocks_per_group: int, width: int = 1) -> list[nn.Module]:
    """Stem and three groups of 16, 32 and 64 channels, times `width`; 6n+2 layers for n blocks."""
    narrow, middle, broad = 16 * width, 32 * width, 64 * width

    def group(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels_out, stride)
        rest = (BasicBlock(channels_out, channels_out, 1) for _ in range(blocks_per_group - 1))
        return nn.Sequential(first, *rest)

    stem = nn.Sequential(_conv3x3(3, narrow), nn.BatchNorm2d(narrow), nn.ReLU())
    return [
        stem,
        group(narrow, narrow, 1),
        group(narrow, middle, 2),
        pooled(group(middle, broad, 2)),
    ]


def _convolutional(
    channels_in: int, channels_out: int, kernel_px: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution with a bias, BatchNorm, ReLU and 2x2 max pooling."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_px, stride, padding=kernel_px // 2),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def convnet2_groups() -> list[nn.Module]:
    """ConvNet2, for CIFAR: two groups of 64 channels."""
    return [_convolutional(3, 64), pooled(_convolutional(64, 64))]


def convnet4_groups() -> list[nn.Module]:
    """ConvNet4, for ImageNet: a 7x7 stem, two groups of 128 channels and one of 512."""
    return [
        _convolutional(3, 128, kernel_px=7, stride=2),
        _convolutional(128, 128),
        _convolutional(128, 128),
        pooled(_convolutional(128, 512)),
    ]
