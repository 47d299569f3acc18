"""What the documents say of commands and modules is what there is."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
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
