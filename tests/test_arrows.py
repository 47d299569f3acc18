"""Who may import whom: edgecil_export -> edgecil -> edgecil_devices, and never back.

Inside edgecil the rooms lie on floors, and no import climbs; in none of the packages do modules
import each other in a circle.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOMES = {
    "edgecil": ROOT / "edgecil",
    "edgecil_export": ROOT / "export" / "edgecil_export",
    "edgecil_devices": ROOT / "devices" / "edgecil_devices",
}
FLOORS = (
    ("errors", "published", "words", "work", "workers"),
    ("budget", "team", "data", "networks"),
    ("memory", "pictures"),
    ("evaluation", "methods"),
    ("planning",),
    ("training",),
    ("comparison", "report"),
    ("analysis",),
    ("cli",),
)
"""The rooms of edgecil, and its modules that are in none, from the ground up. A room imports what
lies below it."""
BASE_PACKAGES = {"numpy", "onnxruntime", "PIL"}
LIGHT_REQUESTS = {"edgecil_export.request"}
"""What the command line imports of the exporter at its start: no more than options and words."""
LATER = {"signing.py": {"cryptography"}, "decoders.py": {"pillow_heif"}}
"""What a module of the device may import inside functions: packages of an extra."""


def imports(path: Path, *, at_start_only: bool = False) -> Iterator[str]:
    """Modules that a file imports; with `at_start_only` not those inside functions."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        if at_start_only and (is_for_type_checking(node) or isinstance(node, ast.FunctionDef)):
            continue
        todo.extend(ast.iter_child_nodes(node))


def is_for_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def packages(path: Path, *, at_start_only: bool = False) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, at_start_only=at_start_only)}


def modules(package: str) -> list[Path]:
    return sorted(HOMES[package].rglob("*.py"))


def test_every_package_is_looked_at() -> None:
    assert all(modules(package) for package in HOMES)


@pytest.mark.parametrize("path", modules("edgecil_devices"), ids=lambda path: path.name)
def test_the_device_imports_nothing_of_ours_and_nothing_heavy(path: Path) -> None:
    allowed = sys.stdlib_module_names | BASE_PACKAGES | {"edgecil_devices"}
    assert packages(path, at_start_only=True) <= allowed
    assert packages(path) <= allowed | LATER.get(path.name, set())


def test_the_learner_does_not_import_the_exporter() -> None:
    cli = HOMES["edgecil"] / "cli"
    for path in modules("edgecil"):
        if not path.is_relative_to(cli):
            assert "edgecil_export" not in packages(path), path


def test_the_command_line_imports_the_heavy_parts_only_inside_commands() -> None:
    light = sys.stdlib_module_names | {"typer", "edgecil", "edgecil_devices"}
    for path in (HOMES["edgecil"] / "cli").glob("*.py"):
        if path.name == "progress.py":  # imported by commands themselves
            continue
        at_start = set(imports(path, at_start_only=True)) - LIGHT_REQUESTS
        assert {name.partition(".")[0] for name in at_start} <= light, path


def test_one_module_alone_imports_onnxruntime_first() -> None:
    importing = {
        path.name
        for package in HOMES
        for path in modules(package)
        if "onnxruntime" in packages(path)
    }
    # The second one does so inside a function, after the first.
    assert importing == {"_onnxruntime.py", "quantisation.py"}
    quantisation = HOMES["edgecil_export"] / "quantisation.py"
    assert "edgecil_devices._onnxruntime" in set(imports(quantisation, at_start_only=True))
    assert "onnxruntime" not in packages(quantisation, at_start_only=True)


def names_of_modules() -> dict[str, Path]:
    """Every module of the three packages by the name that imports have for it."""
    found = {}
    for package, home in HOMES.items():
        for path in modules(package):
            parts = path.relative_to(home).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Those of the `known` modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return {name for name in found if known.get(name, path) != path}


def test_no_import_climbs() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    known = names_of_modules()
    for name, path in known.items():
        room = name.removeprefix("edgecil.").partition(".")[0]
        if not name.startswith("edgecil.") or room == "__main__":
            continue
        for other in imported(path, known):
            other_room = other.removeprefix("edgecil.").partition(".")[0]
            if other.startswith("edgecil.") and other_room != room:
                assert floor[other_room] < floor[room], f"{name} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = names_of_modules()
    graph = {name: imported(path, known) for name, path in known.items()}
    assert sum(map(len, graph.values())) > 500  # the imports are seen at all
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_import_names_its_package() -> None:
    """Relative imports would hide from the rules above."""
    for package in HOMES:
        for path in modules(package):
            assert not any(name.startswith(".") for name in imports(path)), path
