"""Modules rewritten for inference, against the same modules as they were, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from edgecil.errors import ExportError
from edgecil.networks import ExpandableNetwork
from edgecil.networks.layers import Shortcut
from edgecil_export.inference import for_inference


def test_a_folded_trunk_computes_the_same(network: ExpandableNetwork) -> None:
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = copy.deepcopy(network.trunk).double()(images.double())
    folded = for_inference(network.trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images).double(), expected, rtol=1e-4, atol=1e-4)


def test_the_network_itself_is_left_as_it_was(network: ExpandableNetwork) -> None:
    before = copy.deepcopy(network.state_dict())
    for_inference(network.blocks[0])
    torch.testing.assert_close(dict(network.state_dict()), dict(before), rtol=0, atol=0)


def test_a_convolutions_own_bias_is_kept() -> None:
    # One number in, so that the sum can be done by hand: conv gives 3*2 + 1 = 7, BatchNorm
    # (7 - 4) / sqrt(3.75 + 0.25) * 10 + 5 = 20.
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.25)
    values = ((conv.weight, 3), (norm.weight, 10), (norm.running_mean, 4), (norm.running_var, 3.75))
    for tensor, value in (*values, (norm.bias, 5), (conv.bias, 1)):
        assert tensor is not None
        tensor.data.fill_(value)
    folded = for_inference(nn.Sequential(conv, norm))
    assert folded(torch.full((1, 1, 1, 1), 2.0)).item() == pytest.approx(20)


@pytest.mark.parametrize(("channels_out", "stride"), [(5, 2), (3, 2), (5, 1), (3, 1)])
def test_a_shortcut_becomes_one_convolution_to_the_bit(channels_out: int, stride: int) -> None:
    shortcut = Shortcut(3, channels_out, stride)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    rewritten = for_inference(nn.Sequential(shortcut))
    assert not any(isinstance(module, Shortcut) for module in rewritten.modules())
    torch.testing.assert_close(rewritten(x), shortcut(x), rtol=0, atol=0)


class NormFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class ConvUsedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("module", [NormFirst(), ConvUsedTwice()])
def test_a_norm_without_a_convolution_of_its_own_is_refused(module: nn.Module) -> None:
    with pytest.raises(ExportError, match="not a convolution of its own"):
        for_inference(module)


def test_a_norm_that_keeps_no_statistics_is_refused() -> None:
    with pytest.raises(ExportError, match="cannot be folded"):
        for_inference(
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False))
        )
