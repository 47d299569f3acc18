"""Classes that a mirror, a turn or another colour could turn into each other are told of."""

import pytest

from edgecil.data.lookalikes import doubts


def pairs(*classes: str, mirrors: bool = True, augmentation: str = "plain") -> list[set[str]]:
    found = doubts(classes, mirrors=mirrors, augmentation=augmentation)
    return [set(doubt.classes) for doubt in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left", "right"),
        ("Turn Left", "turn_right"),
        ("arrow-l", "arrow-r"),
        ("TurnLeft", "TurnRight"),
        ("b", "d"),
        ("lower-p", "lower-q"),
        ("links abbiegen", "rechts abbiegen"),
        ("left glove, left hand", "right glove, right hand"),
        ("curve 2 gauche", "curve 2 droite"),
        ("clockwise", "anticlockwise"),
        ("<", ">"),
    ],
)
def test_names_that_differ_by_opposites_pair_where_pictures_are_mirrored(
    one: str, other: str
) -> None:
    assert pairs("stop", one, "yield", other) == [{one, other}]
    assert pairs("stop", one, "yield", other, mirrors=False) == []


@pytest.mark.parametrize(
    "classes",
    [
        ("left", "up"),
        ("cat left", "dog right"),
        ("bat", "dat"),
        ("bright", "light"),
        ("left",),
        ("apple", "pear", "plum"),
    ],
)
def test_other_names_do_not(classes: tuple[str, ...]) -> None:
    assert pairs(*classes) == []


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [
        ("6", "9", "turned"),
        ("digit-6", "digit-9", "turned"),
        ("red light", "green light", "recoloured"),
        ("tomato ripe", "tomato unripe", "recoloured"),
        ("button top", "button bottom", "moved"),
    ],
)
def test_what_a_policy_does_to_pictures_is_asked_about_too(
    one: str, other: str, change: str
) -> None:
    assert pairs(one, other) == []
    (doubt,) = doubts([one, other], mirrors=True, augmentation="trivialaugment+cutout")
    assert doubt.change == change
    assert str(doubt) == (
        f"pictures are {change} in training; if that can make one of {one!r} look like one of "
        f"{other!r}, train with --augmentation plain"
    )


def test_one_pair_a_change_is_enough_to_be_told() -> None:
    assert pairs("left", "right", "b", "d") == [{"left", "right"}]


def test_of_old_classes_nothing_is_said_again() -> None:
    told = doubts(["left", "right", "b"], mirrors=True, augmentation="plain", new=["b"])
    assert told == []
    (told_now,) = doubts(["left", "up", "right"], mirrors=True, augmentation="plain", new=["right"])
    assert set(told_now.classes) == {"left", "right"}
