"""Training that may turn one class into another is told of, where names show such classes."""

import logging
import string
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecil.data.datasets import LARGEST_PADDED_CROP_PX
from edgecil.data.glyphs import CLASSES, load_glyphs
from edgecil.pictures.policies import AUGMENTATIONS, Policy
from edgecil.planning.data_facts import facts_of
from edgecil.training.label_changes import CHANGES, label_changes, twins, warn_of_label_changes
from edgecil.training.settings import PlannedTask, RunSettings
from tests.edgecil.report.made_runs import SETTINGS

MIRRORED, TURNED, MOVED, COLOURED, ZOOMED = CHANGES


def settings_of(*classes: str, **asked: object) -> RunSettings:
    return replace(SETTINGS, tasks=(PlannedTask(classes, 0),), **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pair",
    [
        ("left", "right"),
        ("turn-left", "Turn_Right"),
        ("arrow_left_small", "arrow_right_small"),
        ("leftArrow", "rightArrow"),
        ("leftarrow", "rightarrow"),
        ("Linkskurve", "Rechtskurve"),
        ("main gauche", "main droite"),
        ("izquierda", "derecha"),
        ("ArrowL", "ArrowR"),
        ("hand_l", "hand_r"),
        ("b", "d"),
        ("lower-p", "lower-q"),
        ("clockwise", "counter-clockwise"),
        ("turn anticlockwise", "turn clockwise"),
        ("<", ">"),
        ("symbol-less", "symbol-greater"),
        ("sw", "se"),
        ("lefthand thread", "righthand thread"),
    ],
)
def test_classes_that_a_mirror_may_swap_are_found_by_their_names(pair: tuple[str, str]) -> None:
    assert twins((*pair, "tree", "house"), MIRRORED) == [pair]


@pytest.mark.parametrize(
    "names",
    [
        ("left", "tree"),
        ("left shoe", "right hand"),
        ("up", "down"),
        ("bright", "blight"),
        ("B", "D"),
        ("vitamin-b", "vitamin-d"),
        ("model-l", "model-r", "model-a"),
        ("left-turn", "left_turn"),
        ("copyright", "copy"),
    ],
)
def test_other_names_are_let_be(names: tuple[str, ...]) -> None:
    assert twins(names, MIRRORED) == []


def test_a_letter_in_thousands_of_names_takes_no_minutes() -> None:
    """As WordNet's numbers have it; all pairs of names are ten thousand times as many as names."""
    names = tuple(f"n{number:08}" for number in range(20_000))
    started = time.process_time()
    assert all(twins(names, one) == [] for one in CHANGES)
    assert time.process_time() - started < 20


def test_in_an_alphabet_letters_are_shapes_and_no_directions() -> None:
    assert twins(string.ascii_lowercase, MIRRORED) == [("b", "d"), ("p", "q")]
    assert twins(string.ascii_uppercase, MIRRORED) == []


@pytest.mark.parametrize(
    ("pair", "change"),
    [
        (("up", "down"), TURNED),
        (("arrow-north", "arrow-east"), TURNED),
        (("digit-6", "digit-9"), TURNED),
        (("upper lip", "lower lip"), MOVED),
        (("red_light", "green_light"), COLOURED),
        (("ripe tomato", "unripe tomato"), COLOURED),
        (("day", "night"), COLOURED),
        (("gru\u0308n", "rot"), COLOURED),  # decomposed, as macOS writes names
        (("weiß", "schwarz"), COLOURED),
        (("small_apple", "large_apple"), ZOOMED),
    ],
)
def test_other_changes_have_words_of_their_own(pair: tuple[str, str], change: object) -> None:
    assert [one for one in CHANGES if twins(pair, one)] == [change]


def test_numbers_and_berries_are_no_shapes_and_colours() -> None:
    assert all(not twins(("class-6", "class-9", "6 apples", "9 apples"), one) for one in CHANGES)
    assert all(not twins(("blueberry", "blackberry"), one) for one in CHANGES)


def test_a_warning_names_the_pair_and_the_remedy() -> None:
    (line,) = label_changes(settings_of("left", "tree", "right"))
    assert "'left' and 'right'" in line
    assert "train with --no-mirror" in line
    assert label_changes(settings_of("left", "tree", "right", mirrors=False)) == []


def test_of_many_pairs_three_are_named() -> None:
    names = [f"{side} {part}" for part in ("eye", "ear", "hand", "foot") for side in ("l", "r")]
    (line,) = label_changes(settings_of(*names))
    assert line.count(" and ") == 4  # the last is that of the rest
    assert "'l hand' and 'r hand' and 1 more pairs" in line


def test_new_classes_are_told_of_with_old_ones_and_old_ones_not_again() -> None:
    settings = settings_of("left", "right", "turn l", "turn r")
    (line,) = label_changes(settings, new=("turn r",))
    assert "'turn l' and 'turn r'" in line
    assert "'left'" not in line
    assert "train another run with --no-mirror" in line


def test_letters_that_join_a_run_with_mirrors_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    glyphs = facts_of(load_glyphs(train_per_class=1, test_per_class=1), [])
    for mirrors in (True, False):
        with caplog.at_level(logging.WARNING, logger="edgecil"):
            warn_of_label_changes(settings_of(*CLASSES, mirrors=mirrors), glyphs)
        told = any("do not show their class in a mirror" in line for line in caplog.messages)
        assert told is mirrors
        caplog.clear()


def test_glyphs_are_not_mirrored_so_nothing_is_told_of_them() -> None:
    assert twins(CLASSES, MIRRORED) == [("symbol-less", "symbol-greater"), ("lower-b", "lower-d")]
    assert not load_glyphs(train_per_class=1, test_per_class=1).mirrors
    assert label_changes(settings_of(*CLASSES, mirrors=False)) == []


# What the table says of augmentation, against what augmentation does


def augmented(name: str, picture: np.ndarray, count: int = 3000) -> Tensor:
    """`picture` (S, S, 3) treated `count` times, (count, 3, S, S) float32."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1).expand(count, -1, -1, -1).contiguous()
    draws = Policy(name).draw(count, pixels.shape[-1], torch.Generator().manual_seed(0))
    return Policy(name).apply(pixels, draws).float()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_policy_is_told_to_turn_if_a_lying_bar_ends_up_standing(name: str) -> None:
    bar = np.zeros((32, 32, 3), np.uint8)
    bar[14:18, 4:28] = 255
    light = augmented(name, bar).mean(dim=1) > 200  # fill is grey
    whole = light[(light.sum(dim=(1, 2)) > 85) & (light.sum(dim=(1, 2)) < 120)]  # of 96 pixels
    height, width = whole.any(dim=2).sum(dim=1), whole.any(dim=1).sum(dim=1)
    stands = bool((height > 2 * width).any())
    assert len(whole) > 500
    assert TURNED.happens(settings_of(augmentation=name)) is stands


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_policy_is_told_to_move_if_what_is_above_ends_up_below(name: str) -> None:
    spot = np.zeros((32, 32, 3), np.uint8)
    spot[4:8, 14:18] = 255
    light = augmented(name, spot).mean(dim=1) > 200
    whole = light[(light.sum(dim=(1, 2)) > 12) & (light.sum(dim=(1, 2)) < 24)]  # of 16 pixels
    below = bool((~whole[:, :16].any(dim=(1, 2))).any())
    assert len(whole) > 500
    assert MOVED.happens(settings_of(augmentation=name)) is below


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_policy_is_told_to_colour_if_red_ends_up_as_something_else(name: str) -> None:
    red = np.full((32, 32, 3), (230, 20, 20), np.uint8)
    pixels = augmented(name, red).permute(0, 2, 3, 1).reshape(-1, 3)
    grey = (pixels == 128).all(dim=1)  # covered, or moved in from beyond the edge
    lost = pixels[~grey, 0] < 1.5 * pixels[~grey, 1]
    assert COLOURED.happens(settings_of(augmentation=name)) is bool(lost.any())


def test_pictures_are_zoomed_above_the_size_of_padded_crops() -> None:
    for more, zoomed in ((0, False), (1, True)):
        size_px = LARGEST_PADDED_CROP_PX + more
        assert ZOOMED.happens(settings_of(image_size_px=size_px)) is zoomed
