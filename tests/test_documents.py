"""What the documents say of commands and modules is what there is."""

import ast
import importlib
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import edgecil_devices

ROOT = Path(__file__).parents[1]
ROOMS = ("edgecil", "export", "devices", "tests", "benchmarks")
# Not whatever else lies in a checkout: an environment, say, whose packages have documents, too.
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for room in (*ROOMS, "docs") for path in (ROOT / room).rglob("*.md")),
    ]
)


def test_every_torchrun_command_keeps_its_hands_off_our_options() -> None:
    """torchrun takes `--run` for a short form of an option of its own, but not after `--`."""
    commands = [
        command
        for document in DOCUMENTS
        for command in re.findall(r"torchrun[^`]*?\bedgecil\s", document.read_text("utf-8"))
    ]
    assert len(commands) >= 3
    assert [command for command in commands if " -m -- edgecil" not in command] == []


def test_the_exporters_table_of_modules_has_each_module_once() -> None:
    readme = (ROOT / "export" / "README.md").read_text("utf-8")
    cells = re.findall(r"^\| (`\w+\.py`.*?) \|", readme, re.MULTILINE)
    listed = Counter(name for cell in cells for name in re.findall(r"\w+\.py", cell))
    modules = {path.name for path in (ROOT / "export" / "edgecil_export").glob("*.py")}
    assert listed == dict.fromkeys(modules - {"__init__.py"}, 1)


def prose(code: str) -> str:
    """The docstrings and comments of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    said = [token.string for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said.append(str(node.value.value))
    return "\n".join(said)


@cache
def texts() -> list[tuple[Path, str]]:
    """The documents, and the docstrings, comments and scripts of our rooms."""
    history = ROOT / "CHANGELOG.md"  # names what there was
    found = [(path, path.read_text("utf-8")) for path in DOCUMENTS if path != history]
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*")):
        if path.suffix in (".py", ".sh", ".service"):
            text = path.read_text("utf-8")
            found.append((path, prose(text) if path.suffix == ".py" else text))
    return found


def told(pattern: str) -> Iterator[tuple[Path, str]]:
    """What matches in these."""
    for path, text in texts():
        yield from ((path, found) for found in re.findall(pattern, text))


def test_every_path_of_ours_that_is_named_is_there() -> None:
    named = list(told(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})/[\w./-]*\w"))
    assert len(named) > 50
    to_be_written = "benchmarks/results/"
    assert [
        f"{path}: {name}"
        for path, name in named
        if not (name.startswith(to_be_written) or (ROOT / name).exists())
    ] == []


def test_every_script_that_a_document_names_is_there() -> None:
    scripts = {path.name for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"(?<![\w/-])\w+\.py\b", document.read_text("utf-8"))
    }
    assert len(named) > 20
    assert named - scripts == set()


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("edgecil"):
                return True  # what is missing is a package that it imports
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_module_of_ours_that_is_named_is_there() -> None:
    keys = r"(?!key\b)"  # edgecil.key is a file
    named = list(told(rf"(?<![\w./-])edgecil(?:_export|_devices)?\.{keys}\w+(?:\.\w+)*"))
    assert len(named) > 20
    assert [f"{path}: {name}" for path, name in named if not is_there(name)] == []


def test_the_devices_list_of_modules_names_modules() -> None:
    listed = str(edgecil_devices.__doc__).partition("is quick.")[2]
    names = re.findall(r"`(\w+)`|(\w+)(?=\.py\b|/)", listed)
    modules = {"".join(name) for name in names} - {"serve", "export"}  # a verb, and another room
    assert len(modules) > 30
    package = ROOT / "devices" / "edgecil_devices"
    assert [
        name
        for name in modules
        if not ((package / f"{name}.py").is_file() or (package / name / "__init__.py").is_file())
    ] == []
