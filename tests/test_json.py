"""What we write as JSON is JSON: NaN, which Python would write and nobody else reads, never is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("edgecil", "export", "devices", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def writers(path: Path) -> list[ast.Call]:
    """The calls that write JSON in a file of ours."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_numbers_that_json_does_not_have_are_an_error_wherever_it_is_written(path: Path) -> None:
    for call in writers(path):
        told = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert told.get("allow_nan") == "False", f"{path}:{call.lineno}"


def test_there_is_json_to_look_at() -> None:
    assert sum(len(writers(path)) for path in FILES) > 40
