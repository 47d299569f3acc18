"""The page of every verb, from what `edgecil VERB --help` is made of.

    python docs/tools/verbs_page.py > verbs.md

Needs a base installation of edgecil, no torch.
"""

from collections.abc import Iterator
from typing import Any

from edgecil.cli import VERBS, command_called
from edgecil_devices.__main__ import VERBS as DEVICE_VERBS

HEAD = """\
# Every verb

This page is made from the same text as `edgecil VERB --help`. `edgecil --debug VERB` shows where
in the code an error arose, and `edgecil --version` the version. Verbs marked *device* need only a
base installation; they are also verbs of `python -m edgecil_devices`.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD, "\n".join(f"- [{verb}](#{anchor(verb)}): {VERBS[verb]}" for verb in VERBS)]
    for verb in VERBS:
        for name, command in commands(verb):
            parts.append("\n".join(section(name, command, device=verb in DEVICE_VERBS)))
    return "\n\n".join(parts) + "\n"


def commands(verb: str) -> Iterator[tuple[str, Any]]:
    """A verb and its command, or those of its group."""
    command = command_called(verb)
    yield verb, command
    for name, below in getattr(command, "commands", {}).items():
        yield f"{verb} {name}", below


def anchor(name: str) -> str:
    """What a link to the section of a verb ends with."""
    return f"edgecil-{name.replace(' ', '-')}"


def section(name: str, command: Any, *, device: bool) -> Iterator[str]:
    """The lines of one verb."""
    yield f"{'###' if ' ' in name else '##'} edgecil {name} {{ #{anchor(name)} }}\n"
    mark = "*device* · " if device else ""
    yield f"{mark}`{usage(name, command)}`\n"
    yield cleaned(command.help or "") + "\n"
    rows = [row(one) for one in command.params if one.name != "help"]
    if rows:
        yield "| option | what it is | without it |"
        yield "|---|---|---|"
        yield from rows


def usage(name: str, command: Any) -> str:
    """How the verb is called."""
    words = [f"edgecil {name}"]
    if hasattr(command, "commands"):
        return f"edgecil {name} {'|'.join(command.commands)}"
    options = [one for one in command.params if one.param_type_name == "option"]
    words += [f"{one.opts[0]} {value_of(one)}".strip() for one in options if one.required]
    words.append("[OPTIONS]")
    for one in command.params:
        if one.param_type_name == "argument":
            shown = str(one.metavar or one.name.upper())
            words.append((shown if one.required else f"[{shown}]") + "..." * (one.nargs == -1))
    return " ".join(words)


def row(one: Any) -> str:
    """The line of an option or argument in the table."""
    if one.param_type_name == "argument":
        name = str(one.metavar or one.name.upper())
    else:
        longest = [text for text in one.opts if text.startswith("--")] or one.opts
        name = f"{longest[0]} {value_of(one)}".strip()
    says = cell(one.help or "")
    if one.envvar:
        says += f" Also: the environment variable {one.envvar}."
    return f"| `{cell(name)}` | {says} | {cell(without(one))} |"


def value_of(one: Any) -> str:
    """What stands for the value of an option; nothing for a switch."""
    if getattr(one, "is_flag", False):
        return ""
    return str(one.metavar or one.opts[-1].lstrip("-").upper())


def without(one: Any) -> str:
    """What happens where the option is left out."""
    if one.required:
        return "must be given"
    if isinstance(one.show_default, str):
        return str(one.show_default)
    nothing = (
        one.default is None or one.default is False or one.default == () or callable(one.default)
    )
    return "" if nothing else f"`{one.default}`"


def cell(text: str) -> str:
    """Text that a cell of a table may hold."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def cleaned(text: str) -> str:
    """A help text as paragraphs."""
    paragraphs = text.replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(one.split()).replace("<", "&lt;") for one in paragraphs)


if __name__ == "__main__":
    print(page(), end="")
