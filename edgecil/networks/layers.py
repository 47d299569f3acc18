"""The CIFAR backbones of the class-incremental literature, group by group.

Shapes: N images, C channels, H and W rows and columns.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut (option A of He et al. 2016, section 4.2).

    The shortcut takes every second row and column where the block halves the map, and adds zero
    channels where it widens it. ReLU follows the sum, in the last block of a group too.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride = stride
        self.extra_channels = channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        shortcut = x
        if self.stride > 1:
            shortcut = shortcut[:, :, :: self.stride, :: self.stride]
        if self.extra_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.extra_channels))
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


def pooled(group: nn.Module) -> nn.Sequential:
    """`group` followed by global average pooling: feature map -> (N, C)."""
    return nn.Sequential(group, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def cifar_resnet_groups(blocks_per_group: int) -> list[nn.Module]:
    """Stem and three groups of 16, 32 and 64 channels; 6n+2 layers for n blocks a group."""

    def group(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels_out, stride)
        rest = (BasicBlock(channels_out, channels_out, 1) for _ in range(blocks_per_group - 1))
        return nn.Sequential(first, *rest)

    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return [stem, group(16, 16, 1), group(16, 32, 2), pooled(group(32, 64, 2))]


def convnet_groups() -> list[nn.Module]:
    """ConvNet2: two groups of convolution, BatchNorm, ReLU and 2x2 max pooling, 64 channels."""

    def group(channels_in: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels_in, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    return [group(3), pooled(group(64))]
