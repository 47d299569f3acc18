"""Augmentation moves, mirrors and brightens pictures, and does nothing else to them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from edgecil.pictures.augmentation import (
    BRIGHTNESS,
    PaddedCrops,
    ResizedCrops,
    brightened,
    brightness,
    padding_px,
    seen_in_test,
)


def numbered_picture(size: int) -> np.ndarray:
    """Every pixel tells its row and column: (S, S, 3)."""
    rows, columns = np.mgrid[1 : size + 1, 1 : size + 1]
    return np.stack([rows, columns, np.full_like(rows, 200)], axis=2).astype(np.uint8)


def test_crops_are_windows_of_the_padded_picture_half_of_them_mirrored() -> None:
    size, pad = 16, padding_px(16)
    padded = np.pad(numbered_picture(size), ((pad, pad), (pad, pad), (0, 0)))[None]
    indices = torch.zeros(400, dtype=torch.int64)
    generator = torch.Generator().manual_seed(3)
    drawn = PaddedCrops.draw(400, size, True, generator)
    crops = drawn.cut(torch.from_numpy(padded), indices)
    assert crops.shape == (400, 3, size, size)
    assert crops.is_contiguous(memory_format=torch.channels_last)

    windows = {}
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            window = padded[0, top : top + size, left : left + size]
            windows[window.tobytes()] = (top, left, False)
            windows[np.ascontiguousarray(window[:, ::-1]).tobytes()] = (top, left, True)
    found = [windows[np.ascontiguousarray(c.permute(1, 2, 0)).tobytes()] for c in crops]
    assert {place[:2] for place in found} == {(t, x) for t in range(5) for x in range(5)}
    assert 150 < sum(mirrored for _, _, mirrored in found) < 250


def test_padding_is_the_published_four_pixels_for_cifar() -> None:
    assert padding_px(32) == 4


def test_brightness_scales_a_whole_picture_within_the_published_range() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    out = brightened(pixels, brightness(len(pixels), generator))
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert 100 * (1 - BRIGHTNESS) <= out.min() < 80
    assert 120 < out.max() <= 100 * (1 + BRIGHTNESS)
    bright = torch.full((50, 3, 1, 1), 250.0)
    assert brightened(bright, brightness(50, generator)).max() <= 255


def test_resized_crops_stay_inside_the_picture_and_keep_its_size() -> None:
    picture = torch.from_numpy(numbered_picture(96))[None]
    drawn = ResizedCrops.draw(torch.ones(64), True, torch.Generator().manual_seed(0))
    out = drawn.cut(picture, torch.zeros(64, dtype=torch.int64))
    assert out.shape == (64, 3, 96, 96)
    assert torch.allclose(out[:, 2], torch.tensor(200.0), atol=1e-3)  # no border colour comes in
    assert out[:, :2].min() >= 1
    assert out[:, :2].max() <= 96
    mirrored = (out[:, 1, 48, 0] > out[:, 1, 48, -1]).sum()
    assert 16 < mirrored < 48
    spans = out[:, 0, -1, 48] - out[:, 0, 0, 48]  # rows that a crop covers
    assert spans.min() < 60
    assert spans.max() > 80


def part_below(values: torch.Tensor) -> torch.Tensor:
    """The part of the values below each of a hundred thresholds, none of them a round number."""
    thresholds = torch.arange(0.0013, 1, 0.01)
    return (values[:, None] < thresholds).float().mean(dim=0)


@pytest.mark.parametrize("sides", [(3000, 3000), (4500, 3000), (3000, 9000), (12000, 1500)])
def test_crops_are_distributed_as_those_of_torchvision(sides: tuple[int, int]) -> None:
    width_px, height_px = sides
    count, picture = 6000, torch.empty(1, 1, 1).expand(1, height_px, width_px)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor(
            [
                RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3])
                for _ in range(count)
            ]
        )  # top, left, height, width
    theirs = theirs / torch.tensor([height_px, width_px, height_px, width_px])
    aspects = torch.full((count,), width_px / height_px)
    ours = ResizedCrops.draw(aspects, True, torch.Generator().manual_seed(1))
    pairs = [
        (ours.top, theirs[:, 0]),
        (ours.left, theirs[:, 1]),
        (ours.height, theirs[:, 2]),
        (ours.width, theirs[:, 3]),
        (ours.width * ours.height, theirs[:, 2] * theirs[:, 3]),
        (ours.width * aspects / ours.height / 2, theirs[:, 3] * aspects / theirs[:, 2] / 2),
        # A place, as a part of where it can be: even, but for crops that fill a side.
        (ours.left / (1 - ours.width + 1e-6), theirs[:, 1] / (1 - theirs[:, 3] + 1e-6)),
    ]
    for mine, expected in pairs:
        # Kolmogorov and Smirnov: two samples of one distribution differ more in 1 of 1,000 cases.
        assert (part_below(mine) - part_below(expected)).abs().max() < 1.95 * (2 / count) ** 0.5
    assert 0.47 < ours.mirrored.float().mean() < 0.53


def test_a_squeezed_picture_gives_the_crops_of_the_whole_one() -> None:
    """Rows and columns of 300 x 200 pixels, through 72 x 72 and a crop, are what they were."""
    width_px, height_px, size = 300, 200, 72
    x, y = np.meshgrid(np.arange(width_px) * 0.8, np.arange(height_px) * 1.2)
    whole = Image.fromarray(np.stack([x, y, y * 0], axis=2).round().astype(np.uint8))
    squeezed = np.array(whole.resize((size, size), Image.Resampling.BILINEAR))
    drawn = ResizedCrops.draw(torch.full((50,), 1.5), True, torch.Generator().manual_seed(0))
    crops = drawn.cut(torch.from_numpy(squeezed)[None], torch.zeros(50, dtype=torch.int64))
    for crop, (left, top, width, height, mirrored) in zip(
        crops, zip(*drawn, strict=True), strict=True
    ):
        corner = (float(left * width_px), float(top * height_px))
        box = (*corner, float((left + width) * width_px), float((top + height) * height_px))
        expected = np.array(whole.resize((size, size), Image.Resampling.BILINEAR, box=box))
        if mirrored:
            expected = expected[:, ::-1]
        inner = np.abs(crop.permute(1, 2, 0).numpy() - expected)[4:-4, 4:-4]
        assert inner.max() < 2.5


@pytest.mark.parametrize("aspect", [1e-7, 1e-3, 1e3, 1e7])
def test_a_strip_is_cropped_in_its_middle(aspect: float) -> None:
    drawn = ResizedCrops.draw(torch.full((20,), aspect), True, torch.Generator())
    shape = drawn.width / drawn.height * aspect
    expected = torch.full((20,), 4 / 3 if aspect > 1 else 3 / 4)
    torch.testing.assert_close(shape, expected)
    torch.testing.assert_close(drawn.left + drawn.width / 2, torch.full((20,), 0.5))
    torch.testing.assert_close(drawn.top + drawn.height / 2, torch.full((20,), 0.5))
    strip = torch.full((1, 72, 72, 3), 90, dtype=torch.uint8)
    assert (drawn.cut(strip, torch.zeros(20, dtype=torch.int64)).round() == 90).all()
    assert (seen_in_test(strip, torch.tensor([aspect]), 80) == 90).all()


def test_the_same_generator_gives_the_same_pictures() -> None:
    padded = torch.randint(0, 256, (10, 20, 20, 3), dtype=torch.uint8)
    draws = [
        PaddedCrops.draw(10, 16, True, torch.Generator().manual_seed(7)).cut(
            padded, torch.arange(10)
        )
        for _ in range(2)
    ]
    assert torch.equal(*draws)


def test_pictures_that_a_mirror_would_change_are_never_mirrored() -> None:
    size = 16
    picture = torch.from_numpy(numbered_picture(size))
    padded = torch.from_numpy(np.pad(picture.numpy(), ((2, 2), (2, 2), (0, 0))))[None]
    generator = torch.Generator().manual_seed(0)
    indices = torch.zeros(100, dtype=torch.int64)
    crops = PaddedCrops.draw(100, size, False, generator).cut(padded, indices)
    assert (crops[:, 1, 8, 4] < crops[:, 1, 8, 11]).all()  # columns still count to the right
    resized = ResizedCrops.draw(torch.ones(100), False, generator).cut(picture[None], indices)
    assert (resized[:, 1, 8, 0] < resized[:, 1, 8, -1]).all()
