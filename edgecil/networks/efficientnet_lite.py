"""EfficientNet-Lite0, group by group: EfficientNet-B0 as Google made it for small computers.

No squeeze-and-excitation, ReLU6 in place of swish, and a stem that does not grow. Source: Tan and
Le, ICML 2019, for the layers; Google's `tpu/models/official/efficientnet/lite` for what Lite
changes. Its pictures are normalised as (x - 127) / 128.

Shapes: N images, C channels, H and W rows and columns.
"""

from torch import Tensor, nn

from edgecil.networks.layers import SameConv, pooled

_EPS = 1e-3
"""BatchNorm's, as TensorFlow has it: torch's own is a hundredth of it."""

_STAGES = (
    # blocks, kernel in pixels, stride of the first, times that channels are widened, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32


class MobileBlock(nn.Module):
    """Widened, filtered channel by channel, narrowed; with a shortcut where the shape stays.

    Layers are called as in the published files, but for an underscore before each.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel_px: int, stride: int, widening: int
    ) -> None:
        super().__init__()
        wide = channels_in * widening
        if widening > 1:
            self.expand_conv = nn.Conv2d(channels_in, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=_EPS)
        self.depthwise_conv = SameConv(wide, wide, kernel_px, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=_EPS)
        self.project_conv = nn.Conv2d(wide, channels_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out, eps=_EPS)
        self.relu6 = nn.ReLU6()
        self.widens = widening > 1
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride), rounded up."""
        wide = self.relu6(self.bn0(self.expand_conv(x))) if self.widens else x
        wide = self.relu6(self.bn1(self.depthwise_conv(wide)))
        narrow: Tensor = self.bn2(self.project_conv(wide))
        return narrow + x if self.has_shortcut else narrow


class _Stem(nn.Module):
    """A 3x3 convolution that halves the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = SameConv(3, _STEM_CHANNELS, 3, 2, bias=False)
        self.bn = nn.BatchNorm2d(_STEM_CHANNELS, eps=_EPS)
        self.relu6 = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, 32, S/2, S/2), rounded up."""
        out: Tensor = self.relu6(self.bn(self.conv(x)))
        return out


def lite0_groups() -> list[nn.Module]:
    """The stem and the blocks b0 to b15, of which the last is pooled: features (N, 320).

    The published layer of 1280 channels behind b15 is left out: features of 320 are as good.
    """
    groups: list[nn.Module] = [_Stem()]
    channels = _STEM_CHANNELS
    for count, kernel_px, stride, widening, channels_out in _STAGES:
        for number in range(count):
            strides = 1 if number else stride
            groups.append(MobileBlock(channels, channels_out, kernel_px, strides, widening))
            channels = channels_out
    return [*groups[:-1], pooled(groups[-1])]
