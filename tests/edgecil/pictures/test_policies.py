"""Augmentation policies, against torchvision's operations on one picture at a time."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as reference

from edgecil.errors import UsageError
from edgecil.pictures import image_operations as operations
from edgecil.pictures.policies import _CODES, AUTOAUGMENT_CIFAR, Draws, Policy

SIZE = 32


def pictures(count: int) -> Tensor:
    """Smooth random pictures with many values, and one that is all of one colour."""
    generator = torch.Generator().manual_seed(0)
    coarse = 255 * torch.rand(count, 3, 8, 8, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 255)
    pixels[-1] = torch.tensor([10.0, 200.0, 90.0]).view(3, 1, 1)
    return pixels.to(torch.uint8)


REFERENCES = {
    "brightness": lambda picture, a: reference.adjust_brightness(picture, 1 + a),
    "colour": lambda picture, a: reference.adjust_saturation(picture, 1 + a),
    "contrast": lambda picture, a: reference.adjust_contrast(picture, 1 + a),
    "sharpness": lambda picture, a: reference.adjust_sharpness(picture, 1 + a),
    "posterise": lambda picture, a: reference.posterize(picture, 8 - int(a)),
    "solarise": lambda picture, a: reference.solarize(picture, 255 - a),
    "invert": lambda picture, a: reference.invert(picture),
    "autocontrast": lambda picture, a: reference.autocontrast(picture),
    "equalise": lambda picture, a: reference.equalize(picture),
}
AMOUNTS = {"posterise": (0.0, 1.0, 3.0, 4.0, 6.0), "solarise": (0.0, 50.0, 100.0, 200.0, 255.0)}


@pytest.mark.parametrize("name", REFERENCES)
def test_an_operation_with_an_amount_for_each_picture_is_torchvisions_one_by_one(name: str) -> None:
    pixels = pictures(5)
    amounts = AMOUNTS.get(name, (-0.9, -0.3, 0.0, 0.4, 0.9))

    ours = getattr(operations, name)(pixels, torch.tensor(amounts).view(-1, 1, 1, 1))

    theirs = [REFERENCES[name](p, a) for p, a in zip(pixels, amounts, strict=True)]
    # Rounding of a blend may fall to either side.
    assert (ours.int() - torch.stack(theirs).int()).abs().max() <= 1


SLANT = math.degrees(math.atan(0.2))
MOVES = {
    "translate-x": (0.0, [-5, 0], [0.0, 0.0]),
    "translate-y": (0.0, [0, -5], [0.0, 0.0]),
    "rotate": (20.0, [0, 0], [0.0, 0.0]),
    "shear-x": (0.0, [0, 0], [SLANT, 0.0]),
    "shear-y": (0.0, [0, 0], [0.0, SLANT]),
}
STRENGTHS = {"translate-x": 5.5 / 32, "translate-y": 5.5 / 32, "rotate": 20 / 30}


@pytest.mark.parametrize("name", MOVES)
def test_a_movement_is_torchvisions(name: str) -> None:
    pixels = pictures(3)
    strength = STRENGTHS.get(name, 0.2 / 0.3)
    if name.startswith("translate"):
        strength /= 150 / 331
    codes = torch.full((3, 1), _CODES[name])
    draws = Draws(codes, torch.full((3, 1), strength), torch.empty(3, 0, dtype=torch.int64))

    ours = Policy("autoaugment").apply(pixels, draws)

    angle, translate, shear = MOVES[name]
    theirs = reference.affine(
        pixels,
        angle,
        translate,
        shear=shear,
        scale=1.0,
        interpolation=InterpolationMode.NEAREST,
        fill=[128.0] * 3,
        center=[0.0, 0.0] if name.startswith("shear") else None,
    )
    # A place midway between two pixels may be rounded to either.
    assert (ours == theirs).all(dim=1).float().mean() > 0.99


def test_the_autoaugment_policy_is_that_of_torchvision() -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)._policies
    names = {"colour": "Color", "equalise": "Equalize", "solarise": "Solarize"}
    names |= {"posterise": "Posterize", "autocontrast": "AutoContrast"}
    names |= {"shear-y": "ShearY", "translate-x": "TranslateX", "translate-y": "TranslateY"}

    ours = [
        tuple((names.get(name, name.capitalize()), odds, ninths) for name, odds, ninths in pair)
        for pair in AUTOAUGMENT_CIFAR
    ]

    assert ours == [
        tuple((name, odds, ninths or 0) for name, odds, ninths in pair) for pair in theirs
    ]


def test_cutout_covers_a_square_of_half_the_side_and_loses_what_reaches_beyond_the_edge() -> None:
    pixels = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)
    centres = torch.tensor([[16, 16], [0, 31]])

    covered = operations.cut_out(pixels, centres, 16) == operations.FILL

    assert covered[0, 0, 8:24, 8:24].all()
    assert covered[0].sum() == 3 * 16 * 16
    assert covered[1, 0, :8, 23:].all()
    assert covered[1].sum() == 3 * 8 * 9


def test_autoaugment_does_what_its_probabilities_say() -> None:
    draws = Policy("autoaugment").draw(50_000, SIZE, torch.Generator().manual_seed(1))
    found = Counter(draws.codes[:, 0].tolist())

    expected = sum(odds for (name, odds, _), _ in AUTOAUGMENT_CIFAR if name == "equalise") / 25
    assert found[_CODES["equalise"]] / 50_000 == pytest.approx(expected, abs=0.005)
    signed = draws.strengths[draws.strengths != 0]
    assert (signed < 0).float().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment", "autoaugment+cutout", "plain"])
def test_a_share_of_a_batch_is_treated_as_in_the_whole_batch(name: str) -> None:
    augmentation, pixels = Policy(name), pictures(16)
    draws = augmentation.draw(16, SIZE, torch.Generator().manual_seed(3))

    whole = augmentation.apply(pixels, draws)
    share = augmentation.apply(pixels[5:11], Draws(*(rows[5:11] for rows in draws)))

    assert torch.equal(whole[5:11], share)
    assert whole.dtype == torch.uint8
    assert torch.equal(pixels, pictures(16)), "the data set itself was changed"


def test_plain_leaves_pictures_as_they_are_and_others_do_not() -> None:
    pixels = pictures(32)
    for name, same in [("plain", True), ("autoaugment", False), ("plain+cutout", False)]:
        augmentation = Policy(name)
        draws = augmentation.draw(32, SIZE, torch.Generator().manual_seed(3))
        assert torch.equal(augmentation.apply(pixels, draws), pixels) == same


def test_an_unknown_policy_is_refused_with_the_list_of_all() -> None:
    with pytest.raises(UsageError, match=r"'auto'; choose one of: plain, plain\+cutout"):
        Policy("auto")
