"""What we write as JSON is JSON: NaN, which Python would write and nobody else reads, never is.

And what the packages read as JSON is read by one function, which takes nothing else either.
"""

import ast
from pathlib import Path

import pytest

from edgecil_devices._json import json_object

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("edgecil", "export", "devices", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


ELSEWHERE = ("benchmarks/", "edgecil/evaluation/")
"""Benchmarks read their own results; those of older runs have NaN where nothing was measured."""


def calls(path: Path, *names: str) -> list[ast.Call]:
    """The calls in a file of ours of functions of these names."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def writers(path: Path) -> list[ast.Call]:
    """The calls that write JSON in a file of ours."""
    return calls(path, "json.dumps", "json.dump")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_numbers_that_json_does_not_have_are_an_error_wherever_it_is_written(path: Path) -> None:
    for call in writers(path):
        told = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert told.get("allow_nan") == "False", f"{path}:{call.lineno}"


def test_there_is_json_to_look_at() -> None:
    assert sum(len(writers(path)) for path in FILES) > 40


def test_the_packages_read_json_in_one_place() -> None:
    names = {path.relative_to(ROOT).as_posix(): path for path in FILES}
    reading = {name for name, path in names.items() if calls(path, "json.loads", "json.load")}
    reading = {name for name in reading if not name.startswith(ELSEWHERE)}
    assert reading == {"devices/edgecil_devices/_json.py"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1',
        "",
        '{"a": ' + "[" * 100_000,
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        json_object(text.encode())


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"'])
def test_what_is_no_object_is_of_the_wrong_type(text: str) -> None:
    with pytest.raises(TypeError, match="not a JSON object"):
        json_object(text.encode())


def test_an_object_is_read_as_it_is() -> None:
    assert json_object(b' {"a": [1, 2.5, null, "\xc3\xa4"]}\n') == {"a": [1, 2.5, None, "ä"]}
