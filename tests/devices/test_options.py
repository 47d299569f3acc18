"""Options are described once, as fields of requests; the command lines follow from them."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecil_devices.__main__ import VERBS, function_of, request_of
from edgecil_devices.options import (
    add_arguments,
    described,
    one_of,
    option,
    options_of,
    request_from,
    words_of,
)


@dataclass(frozen=True)
class Everything:
    """An option of every kind."""

    place: Path = field(metadata=described("Where.", argument=True))
    others: tuple[str, ...] = option((), "More places.", argument=True, metavar="PLACE")
    size_px: int | None = option(None, "How large.", flag="--size", shown_default="as it is")
    part: float = option(0.5, "How much: 50%.")
    names: tuple[str, ...] = option((), "What it is called.", metavar="NAME")
    words: str | int = option("A B", "Anything.", parse=str.upper)
    quietly: bool = option(False, "Say nothing.")
    not_an_option: int = 3


def parser_of(request: type) -> ArgumentParser:
    parser = ArgumentParser("verb")
    add_arguments(parser, request)
    return parser


def parsed(request: type, words: list[str]) -> Any:
    return request_from(vars(parser_of(request).parse_args(words)), request)


def test_what_is_typed_is_in_the_request() -> None:
    words = ["--size", "3", "--names", "x", "--names", "y", "--words=ab", "here", "b", "--quietly"]
    asked = Everything(Path("here"), ("b",), 3, 0.5, ("x", "y"), "AB", quietly=True)
    assert parsed(Everything, words) == asked
    assert parsed(Everything, ["here"]) == Everything(Path("here"))


def test_the_command_that_asks_for_a_request_leaves_out_defaults() -> None:
    assert words_of(Everything(Path("here"))) == ["here"]
    words = ["--size", "8", "--part", "0.25", "--names", "x", "--names", "y", "--quietly", "here"]
    assert words_of(parsed(Everything, words)) == words
    assert words_of(Everything(Path("here")), ["part"]) == ["--part", "0.5", "here"]


TEXTS = st.text(st.characters(exclude_categories=["C"]))
PLACES = TEXTS.filter(lambda text: text != "--")  # which argparse takes out wherever it stands


@given(
    st.builds(
        Everything,
        place=PLACES.map(Path),
        others=st.lists(PLACES).map(tuple),
        size_px=st.none() | st.integers(),
        part=st.floats(allow_nan=False),
        names=st.lists(TEXTS).map(tuple),
        words=TEXTS.map(str.upper).filter(lambda text: text == text.upper()),
        quietly=st.booleans(),
        not_an_option=st.just(3),
    )
)
def test_the_words_of_a_request_ask_for_just_this(asked: Everything) -> None:
    assert parsed(Everything, words_of(asked)) == asked


def test_help_says_what_an_option_is_and_what_happens_without_it() -> None:
    told = " ".join(parser_of(Everything).format_help().split())
    assert "--size N How large. (as it is)" in told
    assert "--part X How much: 50%. (0.5)" in told
    assert "--names NAME What it is called." in told
    assert "--words WORDS Anything. (A B)" in told
    assert "PLACE More places. " in told
    assert one_of(["a", "b", "c"]) == "a, b or c"


@pytest.mark.parametrize("verb", VERBS)
def test_the_arguments_of_a_verb_are_the_fields_of_its_request(verb: str) -> None:
    request = request_of(function_of(verb))
    actions = [
        action
        for action in parser_of(request)._actions
        if action.dest != "help"  # argparse's own
    ]
    assert [action.dest for action in actions] == [one.name for one in fields(request)]
    for one, action in zip(options_of(request), actions, strict=True):
        assert action.option_strings == ([] if one.argument else [one.flag])
        assert str(action.help).startswith(one.says)
        assert isinstance(parser_of(request), ArgumentParser)
    required = {one: one.kind(f"{one.name}.x") for one in options_of(request) if one.required}
    words = [word for one, value in required.items() for word in one.words(value)]
    found = parser_of(request).parse_args(words)
    assert isinstance(found, Namespace)
    if verb != "update":  # which wants a file or --from
        values = vars(found)
        defaults = request(**{one.name: value for one, value in required.items()})
        assert request_from(values, request) == defaults
