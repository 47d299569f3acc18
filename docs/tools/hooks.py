"""What mkdocs does beside its own: pages made of files elsewhere in the tree, and links to them.

Nothing is copied into docs/: the page of the verbs is made of their options, and the pages in
`TAKEN` are files that have their place beside the code. A link from one of our pages to a file of
the tree works where the tree is looked at; on the site it leads to the page that the file has
become, or names the file where it has become none.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import verbs_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

VERBS_PAGE = "reference/verbs.md"
"""Where the page of the verbs lies; see `verbs_page`."""

TAKEN = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "measured/scripts.md",
    "benchmarks/accuracy_per_byte/README.md": "measured/accuracy-per-byte.md",
    "benchmarks/cluster.md": "measured/cluster.md",
    "benchmarks/results/accuracy-per-byte/ablation.md": "measured/ablation.md",
    "devices/FLEET.md": "device/fleet.md",
    "devices/README.md": "device/handbook.md",
    "export/FORMAT.md": "reference/format.md",
    "export/README.md": "reference/exporter.md",
}
"""Files of the tree, and the pages that they are on the site."""

PICTURES = (".png", ".svg")

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
STEP = re.compile(r"^ {3}(\S)", re.MULTILINE)
"""What goes on under a numbered step, which python-markdown wants one space further in."""
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)


def taken() -> dict[str, str]:
    """`TAKEN`, and a page for every table of the benchmarks."""
    results = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    pages = {path.relative_to(ROOT).as_posix(): f"measured/{path.name}" for path in results}
    return TAKEN | pages


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, VERBS_PAGE, content=verbs_page.page()))
    pictures: set[str] = set()
    for source, uri in taken().items():
        text = (ROOT / source).read_text("utf-8")
        text = STEP.sub(r"    \1", with_title(text, source))
        content = with_links(text, source, uri, pictures)
        files.append(File.generated(config, uri, content=content))
    for path in sorted(DOCS.rglob("*.md")):
        source = path.relative_to(ROOT).as_posix()
        with_links(path.read_text("utf-8"), source, source.removeprefix("docs/"), pictures)
    for picture in sorted(pictures):
        made = File.generated(config, picture_uri(picture), abs_src_path=str(ROOT / picture))
        files.append(made)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links to files of the tree links of the site."""
    uri = page.file.src_uri
    return markdown if uri in made() else with_links(markdown, f"docs/{uri}", uri, set())


def made() -> set[str]:
    """The pages that lie nowhere in docs/."""
    return {VERBS_PAGE, *taken().values()}


def picture_uri(picture: str) -> str:
    """Where a picture of the tree lies on the site."""
    return f"pictures/{picture.removeprefix('benchmarks/results/')}"


def with_title(text: str, source: str) -> str:
    """A page needs a title; a table that has none is called as its file is."""
    if text.startswith("# "):
        return text
    name = Path(source).stem.replace("_", " ").replace("-", " ")
    return f"# {name.capitalize()}\n\n{text}"


def with_links(text: str, source: str, uri: str, pictures: set[str]) -> str:
    """The text of a file of the tree as the page `uri` has it.

    Args:
        text: Markdown.
        source: the file, from the root of the tree.
        uri: the page, from the root of the site.
        pictures: gets the pictures that it shows.
    """

    def changed(link: re.Match[str]) -> str:
        return site_link(link, source, uri, pictures)

    return outside_fences(text, lambda part: LINK.sub(changed, part))


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with everything but its fenced blocks changed."""
    parts = FENCE.split(text)
    return "".join(part if FENCE.fullmatch(part) else change(part) for part in parts)


def site_link(link: re.Match[str], source: str, uri: str, pictures: set[str]) -> str:
    """A link as the site has it."""
    path, _, part = link["target"].partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    found = os.path.normpath(Path(source).parent / path)
    pages = taken() | {f"docs/{VERBS_PAGE}": VERBS_PAGE}
    target = pages.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else "")
    if found == "README.md":
        target = "index.md"
    elif found == "benchmarks":
        target = TAKEN["benchmarks/README.md"]
    elif found.endswith(PICTURES) and not target:
        pictures.add(found)
        target = picture_uri(found)
    if not target:
        text = link["text"]
        return text if found in text.strip("`") else f"{text} (`{found}`)"
    way = os.path.relpath(target, Path(uri).parent)
    return f"{link['image']}[{link['text']}]({way}{'#' + part if part else ''})"
