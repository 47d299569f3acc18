"""Names of classes: one form, and a refusal names what nobody can see."""

import pytest

from edgecil_devices.class_names import composed, fault_of


def test_names_that_look_alike_are_one_name() -> None:
    assert composed("cafe\u0301") == composed("caf\u00e9") == "caf\u00e9"
    assert composed("\u1112\u1161\u11ab") == "\ud55c"  # Korean, as a Mac writes it
    assert composed("\ufb01sh") != "fish"  # a ligature is another name


@pytest.mark.parametrize(
    "name",
    [
        "cat",
        "\u0645\u06cc\u200c\u062e\u0648",
        "\U0001f468\u200d\U0001f469",
        "a\u00a0b",
        "\u05d0\u200f",
    ],
)
def test_whatever_writing_needs_is_sound(name: str) -> None:
    assert fault_of(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it is empty"),
        ("x" * 256, "it is longer than 255 characters"),
        ("c\x1bo\nw\x1b", "it holds U+001B, U+000A"),
        ("a\x9bb", "it holds U+009B"),
        ("caf\udce9", "it holds U+DCE9 (the byte 0xE9, which is no UTF-8)"),
        ("\ud800", "it holds U+D800"),
    ],
)
def test_a_fault_is_told_with_code_points(name: str, fault: str) -> None:
    assert fault_of(name) == fault
