"""Augmentation moves, mirrors and brightens pictures, and does nothing else to them."""

import numpy as np
import torch

from edgecil.training.augmentation import (
    BRIGHTNESS,
    PaddedCrops,
    ResizedCrops,
    brightened,
    brightness,
    padding_px,
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
    drawn = ResizedCrops.draw(64, True, torch.Generator().manual_seed(0))
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
    resized = ResizedCrops.draw(100, False, generator).cut(picture[None], indices)
    assert (resized[:, 1, 8, 0] < resized[:, 1, 8, -1]).all()
