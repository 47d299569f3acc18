"""Backbones have the published shapes; the counts are those of the MEMO paper's code."""

import pytest
import torch
from torch import nn

from edgecil.errors import UsageError
from edgecil.networks import BACKBONES, cut_backbone
from edgecil.networks.backbones import refuse_small_images

# Trunk and block, cut before the last group, as counted from the official code.
PUBLISHED_PARAMETERS = {
    "convnet2": (1_920, 37_056),
    "resnet14": (42_320, 129_536),
    "resnet20": (65_552, 203_520),
    "resnet26": (88_784, 277_504),
    "resnet32": (112_016, 351_488),
    "convnet4": (314_880, 591_360),
    "resnet10": (1_232_704, 3_673_088),
    "resnet18": (2_782_784, 8_393_728),
    "resnet26-bottleneck": (3_444_032, 10_502_144),
    "resnet34": (8_170_304, 13_114_368),
    "resnet50": (8_543_296, 14_964_736),
}

# The same of the whole backbone, and the bytes of its BatchNorm statistics.
PUBLISHED_TOTALS = {
    "convnet2": (38_976, 1_040),
    "resnet14": (171_856, 3_816),
    "resnet20": (269_072, 5_656),
    "resnet26": (366_288, 7_496),
    "resnet32": (463_504, 9_336),
    "convnet4": (906_240, 7_200),
    "resnet10": (4_905_792, 23_136),
    "resnet18": (11_176_512, 38_560),
    "resnet26-bottleneck": (13_946_176, 123_624),
    "resnet34": (21_284_672, 68_384),
    "resnet50": (23_508_032, 212_904),
}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


WIDER = {"resnet14x2": "resnet14", "resnet20x2": "resnet20", "resnet32x2": "resnet32"}


def test_every_backbone_from_scratch_has_a_published_count_or_is_a_wider_one() -> None:
    from_scratch = {name for name, backbone in BACKBONES.items() if not backbone.pretrained}
    assert set(PUBLISHED_PARAMETERS) == set(PUBLISHED_TOTALS) == from_scratch - set(WIDER)


@pytest.mark.parametrize(
    ("name", "narrow", "width"),
    [*((*pair, 2) for pair in WIDER.items()), ("resnet20x3", "resnet20", 3)],
)
def test_a_wider_backbone_has_so_many_times_the_channels_everywhere(
    name: str, narrow: str, width: int
) -> None:
    tensors = [
        dict(nn.Sequential(parts.trunk(), parts.block()).named_parameters())
        for parts in (cut_backbone(name), cut_backbone(narrow))
    ]
    for key, narrow_tensor in tensors[1].items():
        from_pixels = key == "0.0.0.weight"  # three colours go in, whatever the width
        factor = width**2 if narrow_tensor.ndim == 4 and not from_pixels else width
        assert tensors[0][key].numel() == factor * narrow_tensor.numel()
    assert tensors[0].keys() == tensors[1].keys()
    images = torch.zeros(2, 3, 32, 32)
    parts = cut_backbone(name)
    assert parts.block()(parts.trunk()(images)).shape == (2, parts.feature_size) == (2, 64 * width)


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameter_counts_equal_the_published_ones(name: str) -> None:
    parts = cut_backbone(name)
    assert (parameters(parts.trunk()), parameters(parts.block())) == PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("name", PUBLISHED_TOTALS)
def test_uncut_backbones_have_the_published_size(name: str) -> None:
    parts = cut_backbone(name, "whole")
    assert parameters(parts.trunk()) == 0
    block = parts.block()
    statistics_bytes = sum(buffer.nbytes for buffer in block.buffers())
    assert (parameters(block), statistics_bytes) == PUBLISHED_TOTALS[name]


def test_memo_2_moves_the_second_last_group_into_the_block() -> None:
    parts = cut_backbone("resnet32", "last-two")
    assert (parameters(parts.trunk()), parameters(parts.block())) == (23_824, 439_680)


@pytest.mark.parametrize("name", ["convnet2", "resnet20", "convnet4", "resnet10", "resnet18"])
def test_trunk_and_block_fit_together(name: str) -> None:
    parts = cut_backbone(name)
    with torch.inference_mode():
        features = parts.block().eval()(parts.trunk().eval()(torch.zeros(2, 3, 32, 32)))
    assert features.shape == (2, BACKBONES[name].feature_size)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_takes_the_least_images_that_it_names_and_none_that_are_smaller(
    name: str,
) -> None:
    backbone = BACKBONES[name]
    least_px = backbone.least_image_px
    assert least_px == {"convnet2": 4, "convnet4": 31}.get(name, 1)
    assert backbone.smallest_image_px >= least_px  # which the planner goes by
    with torch.device("meta"):
        whole = nn.Sequential(*backbone.groups())
        small, larger = (whole(torch.zeros(2, 3, px, px)) for px in (least_px, 64))
        assert small.shape == larger.shape
    refuse_small_images(name, least_px)
    if least_px > 1:
        with torch.device("meta"), pytest.raises(RuntimeError, match="too small"):
            whole(torch.zeros(2, 3, least_px - 1, least_px - 1))
        with pytest.raises(UsageError, match=f"{name} takes pictures of {least_px} px or more"):
            refuse_small_images(name, least_px - 1)


def test_unknown_names_list_the_known_ones() -> None:
    for name in ("resnet33", "resnet33x2", "resnet20x1", "resnet20x", "resnet18x2"):
        with pytest.raises(UsageError, match=f"'{name}'.*convnet2, resnet14.*as in resnet14x4"):
            cut_backbone(name)
    with pytest.raises(UsageError, match="last, last-two"):
        cut_backbone("resnet32", "middle")


def test_a_cut_that_leaves_no_trunk_is_refused() -> None:
    with pytest.raises(UsageError, match="no trunk"):
        cut_backbone("convnet2", "last-two")


def test_convolutions_of_cifars_resnets_start_as_he_et_al_have_them() -> None:
    torch.manual_seed(0)
    parts = cut_backbone("resnet32")
    convolutions = [
        each
        for module in (parts.trunk(), parts.block())
        for each in module.modules()
        if isinstance(each, nn.Conv2d)
    ]
    assert len(convolutions) == 31
    for each in convolutions:
        expected = (2 / (9 * each.out_channels)) ** 0.5
        assert each.weight.std().item() == pytest.approx(expected, rel=0.12)
        assert each.weight.abs().max() > 2.5 * expected, "uniform, not normal"
