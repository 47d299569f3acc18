"""Networks made for small computers, in parts, as their first weights would find them.

The sizes are those of the published networks or smaller; the weights are drawn.
"""

import torch
from torch import Tensor, nn

from edgecil.networks.layers import SameConv


def _normed(conv: nn.Module, channels: int, *activation: nn.Module) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(channels, eps=1e-3), *activation]


class _Inverted(nn.Module):
    """Widened, filtered by channel, narrowed; with a shortcut where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, kernel_px: int, stride: int) -> None:
        super().__init__()
        wide = 3 * channels_in
        self.shortcut = stride == 1 and channels_in == channels_out
        filtered = SameConv(wide, wide, kernel_px, stride, groups=wide, bias=False)
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(channels_in, wide, 1, bias=False), wide, nn.ReLU6()),
            *_normed(filtered, wide, nn.ReLU6(inplace=True)),
            *_normed(nn.Conv2d(wide, channels_out, 1, bias=False), channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.shortcut else out


def lite_like_groups() -> list[nn.Module]:
    """EfficientNet-Lite in small: ReLU6, SAME margins, kernels of 3 and 5, and a thin block."""
    stem = nn.Sequential(*_normed(SameConv(3, 8, 3, 2, bias=False), 8, nn.ReLU6()))
    thin = nn.Sequential(
        *_normed(nn.Conv2d(12, 24, 1, bias=False), 24, nn.ReLU6()),
        *_normed(nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), 24, nn.ReLU6()),
        *_normed(nn.Conv2d(24, 16, 1, bias=False), 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return [stem, _Inverted(8, 12, 3, 2), _Inverted(12, 12, 5, 1), _Inverted(12, 12, 5, 2), thin]


class _Gated(nn.Module):
    """Squeeze-and-excitation: each channel times a number from the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.means = nn.AdaptiveAvgPool2d(1)
        self.gates = nn.Sequential(
            nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.gates(self.means(x))
        return gates * x


def v3_like_groups() -> list[nn.Module]:
    """MobileNetV3 in small: hard swish and gates, in trunk and block."""
    convs = (nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=False))
    stem, filtered = (nn.Sequential(*_normed(conv, 8, nn.Hardswish())) for conv in convs)
    block = nn.Sequential(
        *_normed(nn.Conv2d(8, 16, 1, bias=False), 16, nn.Hardswish()),
        _Gated(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return [stem, nn.Sequential(filtered, _Gated(8)), block]


def mobilenet_v3_small_groups() -> list[nn.Module]:
    """torchvision's network: HardSwish, HardSigmoid and squeeze-and-excitation."""
    from torchvision.models import mobilenet_v3_small

    features = mobilenet_v3_small(weights=None).features
    block = nn.Sequential(features[9:], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return [features[:9], block]


def with_statistics(groups: list[nn.Module], images: Tensor) -> list[nn.Module]:
    """The groups as training on `images` (N, 3, S, S) leaves them: nothing is zero, one or equal.

    Activations reach both ends of ReLU6, so that a limit left out is noticed.
    """
    generator = torch.Generator().manual_seed(0)
    norms = [m for group in groups for m in group.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics of this batch alone
        norm.weight.data.uniform_(1, 2, generator=generator)
        norm.bias.data.uniform_(-1, 2, generator=generator)
    with torch.no_grad():
        nn.Sequential(*groups).train()(images)
    return [group.eval() for group in groups]
