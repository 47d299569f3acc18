"""Weights that stand in for a publisher's, so that no test needs a download or a large network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgecil.networks import BACKBONES
from edgecil.networks.backbones import Backbone
from edgecil.networks.efficientnet_lite import MobileBlock
from edgecil.networks.layers import SameConv, pooled
from edgecil.networks.sources import Origin, Pretrained, PretrainedCut, WeightsSource, sha256_of

TINY = "tiny-pretrained"


def published(name: str) -> dict[str, Tensor]:
    """A file's tensors as a publisher would have them, drawn at random."""
    torch.manual_seed(1)
    row = BACKBONES[name]
    whole = nn.Sequential(*row.groups())
    for tensor in whole.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) * 0.2 + 0.1)
    return {row.published_name(name): t for name, t in whole.state_dict().items()}


def _groups() -> list[nn.Module]:
    stem = nn.Sequential(SameConv(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
    return [stem, MobileBlock(8, 8, 3, 2, 2), pooled(MobileBlock(8, 12, 5, 2, 2))]


@contextmanager
def tiny_backbone(folder: Path) -> Iterator[Path]:
    """Let there be a small backbone that comes pretrained, by a file in `folder`."""
    path = folder / "drawn.safetensors"
    cuts = (PretrainedCut("thin", 2, 128, (8, 1)), PretrainedCut("copied", 2, 12, None))
    with pytest.MonkeyPatch.context() as patch:
        row = Backbone(TINY, _groups, 12, 96, 224, published_name=lambda name: f"net.{name}")
        patch.setitem(BACKBONES, TINY, row)
        save_file(published(TINY), path)
        origin = Origin("a drawing", "CC0-1.0", "noise", sha256_of(path))
        comes = Pretrained(WeightsSource(origin, lambda: path), cuts, (0.3,) * 3, (0.4,) * 3)
        row = Backbone(
            TINY, _groups, 12, 96, 224, published_name=row.published_name, pretrained=comes
        )
        patch.setitem(BACKBONES, TINY, row)
        yield path
