"""The commands that the documents tell people to type, word by word, and the verbs they name."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgecil.cli import VERBS, command_called
from edgecil.methods import METHODS
from edgecil.methods.recipes import RECIPES
from edgecil.networks.backbones import backbone_named
from edgecil.planning.protocols import PROTOCOLS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "devices/README.md")),
    *(ROOT / name for name in ("devices/FLEET.md", "export/README.md", "benchmarks/cluster.md")),
]
TITLES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
FENCED = re.compile(
    r"^ *```(?P<kind>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OTHERS = {
    *(".", "awk", "cd", "curl", "echo", "find", "journalctl", "mv", "scp", "sh", "ssh"),
    *("systemctl", "tee"),
    *("git", "mkdocs", "mypy", "pip", "pytest", "python3", "ray", "ruff"),
}
"""Programs in our commands that are not ours: what they are told is not checked."""
CHOICES: dict[str, Callable[[str], Any]] = {
    "method": lambda name: name in METHODS,
    "recipe": lambda name: name in RECIPES,
    "protocol": lambda name: name in PROTOCOLS,
    "backbone": backbone_named,
}
"""Options whose values stand in a table, and how they are looked up."""


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block of shell, word by word."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                yield from [words] if words else []
                words = []
            else:
                words.append(word)


def ours(words: list[str]) -> list[str] | None:
    """What edgecil is told by a command; None where it is another program's.

    Raises:
        AssertionError: it is a program that nobody thought of.
    """
    if ">" in words:
        words = words[: words.index(">")]
    while words and (words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    if not words:
        return None
    if words[0] == "torchrun":
        return words[words.index("edgecil") + 1 :]
    if words[:3] == ["python", "-m", "edgecil_devices"] or Path(words[0]).name == "edgecil":
        return words[3:] if words[0] == "python" else words[1:]
    program = Path(words[0]).name or words[0]
    assert program in OTHERS, f"{program}: neither edgecil's nor one of OTHERS"
    return None


def require_real(words: list[str]) -> None:
    """Check a command of ours against the options of its verb; nothing is run.

    Raises:
        Exception: there is no such verb, option or value.
    """
    verb, *rest = words
    assert verb in VERBS, f"there is no verb {verb}"
    command = command_called(verb)
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    typed = command.make_context(verb, rest).params
    for name, known in CHOICES.items():
        if typed.get(name):
            assert known(typed[name]), f"{typed[name]}: no {name}"
    for name in (typed.get("methods") or "").split(","):
        assert not name or name in METHODS, name
