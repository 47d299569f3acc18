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
    if not convolution.weight.is_meta:  # torch takes a second to load what would fill those
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


class SameConv(nn.Conv2d):
    """A convolution that is padded as TensorFlow's SAME, whatever the size of what comes in.

    As many zeros as make the output ceil(size / stride); where that is an odd number, the larger
    half is at the end. The sizes are numbers when a graph is exported, and so are the margins.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_px: int,
        stride: int = 1,
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel_px, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, ceil(H/stride), ceil(W/stride))."""
        rows, columns = (
            max(((size + stride - 1) // stride - 1) * stride + kernel - size, 0)
            for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if rows == columns and rows % 2 == 0:
            margin = rows // 2
        else:
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            margin = 0
        return F.conv2d(x, self.weight, self.bias, self.stride, margin, groups=self.groups)


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


THIN_FEATURES = 128
"""Features of a thin block."""

_THIN_WIDTH = 384


def thin_block(channels_in: int, stride: int = 1) -> nn.Module:
    """A small specialised block behind a pretrained trunk: feature map -> (N, 128).

    Widened, filtered channel by channel, narrowed, as the networks for small computers are built,
    and started at random: about 0.1 million parameters, which learn in seconds.

    Args:
        channels_in: channels of the feature map.
        stride: 2 for a feature map of a sixteenth of the picture, 1 for one of a thirty-second.
    """
    wide, narrow = _THIN_WIDTH, THIN_FEATURES
    return pooled(
        nn.Sequential(
            nn.Conv2d(channels_in, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
        )
    )
