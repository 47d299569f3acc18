"""The documentation says what there is: links, commands, messages, and examples that run."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from edgecil.cli import VERBS, command_called
from tests.docs.shell import (
    DOCS,
    DOCUMENTS,
    FENCED,
    LINK,
    PAGES,
    ROOT,
    TITLES,
    commands,
    ours,
    require_real,
)


@pytest.fixture(scope="module")
def tools() -> Iterator[Any]:
    """The script that mkdocs calls, which takes files of the tree into the site."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS / "tools")
        yield import_module("hooks")


def without_fences(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """What links to a page may end with, as mkdocs makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in words}


@pytest.mark.parametrize("path", DOCUMENTS, ids=TITLES)
def test_every_link_leads_somewhere(path: Path, tools: Any) -> None:
    verbs = {tools.verbs_page.anchor(verb) for verb in VERBS}
    lost = []
    for target in LINK.findall(without_fences(path.read_text("utf-8"))):
        name, _, part = unquote(target).partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        found = (path.parent / name).resolve() if name else path
        if found == DOCS / tools.VERBS_PAGE:
            there = not part or part in verbs
        else:
            there = found.exists() and (not part or part in anchors(found.read_text("utf-8")))
        if not there:
            lost.append(target)
    assert lost == []


def test_the_site_has_every_page_and_no_page_twice(tools: Any) -> None:
    pages = [path.relative_to(DOCS).as_posix() for path in PAGES]
    assert len({*pages, *tools.made()}) == len(pages) + len(tools.made())
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert set(pages) <= set(listed) <= {*pages, *tools.made()}
    assert all((ROOT / source).is_file() for source in tools.taken())


def test_every_table_that_was_measured_is_listed() -> None:
    named = LINK.findall((DOCS / "measured.md").read_text("utf-8"))
    tables = {f"../{p.relative_to(ROOT)}" for p in (ROOT / "benchmarks/results").glob("*.md")}
    assert tables <= set(named)


def test_links_to_files_of_the_tree_become_links_of_the_site(tools: Any) -> None:
    text = (
        "[a](../benchmarks/results/few_photos.md) [b](../edgecil/methods/wa.py) [c](teach.md#once)"
        " ![d](../benchmarks/results/accuracy-per-byte/last.svg) `[e](x)`"
    )
    pictures: set[str] = set()
    assert tools.with_links(text, "docs/how.md", "how.md", pictures) == (
        "[a](measured/few_photos.md) b (`edgecil/methods/wa.py`) [c](teach.md#once)"
        " ![d](pictures/accuracy-per-byte/last.svg) `[e](x)`"
    )
    assert pictures == {"benchmarks/results/accuracy-per-byte/last.svg"}


def test_the_page_of_verbs_has_every_option(tools: Any) -> None:
    page = tools.verbs_page.page()
    for verb in VERBS:
        section = page.partition(f"{{ #{tools.verbs_page.anchor(verb)} }}")[2].partition("\n## ")[0]
        assert f"`edgecil {verb}" in section
        options = [one for one in command_called(verb).params if one.name != "help"]
        if verb != "keys":  # whose own verbs follow
            assert section.count("\n| `") == len(options)
        assert [one.name for one in options if not one.help] == []
        flags = [one.opts[0] for one in options if one.param_type_name == "option"]
        assert [flag for flag in flags if f"\n| `{flag}" not in section] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=TITLES)
def test_every_command_names_real_verbs_and_options(path: Path) -> None:
    wrong = []
    blocks = [one for one in FENCED.finditer(path.read_text("utf-8")) if one["kind"] == "sh"]
    for words in [words for block in blocks for words in commands(block["text"])]:
        try:
            told = ours(words)
            if told:
                require_real(told)
        except (Exception, SystemExit) as error:
            wrong.append(f"{shlex.join(words)}: {error}")
    assert wrong == []


@pytest.mark.parametrize(
    "command",
    [
        "edgecil trian --budget 3MB",
        "edgecil train --budget 3MB --bugdet 4MB",
        "edgecil train --data photos",
        "edgecil train --budget 3MB --seed one",
        "edgecil train --budget 3MB --method meno",
        "edgecil install a.edgecil b.edgecil",
        "edgecli train --budget 3MB",
    ],
)
def test_a_wrong_command_is_noticed(command: str) -> None:
    (words,) = commands(command)
    with pytest.raises((Exception, SystemExit)):
        require_real(ours(words) or [])


def test_many_commands_are_looked_at() -> None:
    found = [
        words
        for path in PAGES
        for block in FENCED.finditer(path.read_text("utf-8"))
        if block["kind"] == "sh"
        for words in commands(block["text"])
    ]
    verbs = {told[0] for words in found if (told := ours(words))}
    assert len(found) > 80
    assert set(VERBS) - verbs == set()


RUNNER = """
import sys, types
from pathlib import Path
module = types.ModuleType("example")
sys.modules["example"] = module
for part in Path("blocks").read_text("utf-8").split("\\0"):
    name, line, code = part.split("\\n", 2)
    exec(compile("\\n" * int(line) + code, name, "exec", dont_inherit=True), vars(module))
"""


def python_blocks(path: Path) -> list[tuple[int, str]]:
    """Line and text of every block of Python of a page."""
    text = path.read_text("utf-8")
    return [
        (text[: one.start("text")].count("\n"), one["text"])
        for one in FENCED.finditer(text)
        if one["kind"] == "python"
    ]


def test_the_examples_of_extend_run(tmp_path: Path) -> None:
    """In a process of its own, since they add to our tables."""
    path = DOCS / "extend.md"
    blocks = [f"{path}\n{line}\n{text}" for line, text in python_blocks(path)]
    (tmp_path / "blocks").write_text("\0".join(blocks), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_worked_examples_are_all_there() -> None:
    text = (DOCS / "extend.md").read_text("utf-8")
    wanted = {"a-data-set", "a-method", "a-backbone", "a-codec", "a-verb", "a-board"}
    assert wanted <= anchors(text)
    assert len(python_blocks(DOCS / "extend.md")) > len(wanted)


def said() -> Iterator[str]:
    """Every text in our code, with a NUL for what is put in."""
    for room in ("edgecil", "export", "devices"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_message_in_trouble_is_one_of_the_code() -> None:
    page = (DOCS / "trouble.md").read_text("utf-8").partition("## It runs, but")[0]
    messages = [
        row for row in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) if not row.isdecimal()
    ]
    assert len(messages) > 40
    texts = "\n".join(said())
    lost = []
    for message in messages:
        parts = [part.strip() for part in message.split("...")]
        pattern = r"[^\n]{0,60}?".join(re.escape(part) for part in parts)
        if not re.search(pattern, texts):
            lost.append(message)
    assert lost == []


def test_the_page_of_questions_has_twelve() -> None:
    page = (DOCS / "questions.md").read_text("utf-8")
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 13))


def test_citation_and_package_have_the_same_version() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
