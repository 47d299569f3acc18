"""The few pieces of HTML that a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgecil.report.drawing import Picture

NOTHING = '<span class="none">&ndash;</span>'
"""In place of what was not measured or not published."""


@dataclass(frozen=True)
class Row:
    """One row of a table; the first cell names it."""

    cells: Sequence[str]
    """HTML."""
    kind: str = ""
    """Class of the row: `published`, or nothing."""


def table(head: Sequence[str], rows: Sequence[Row], caption: str) -> str:
    """A table that scrolls in a box of its own where the screen is narrow.

    Args:
        head: HTML of the column heads.
        rows: as many cells each.
        caption: HTML of what it shows; it stands above, where it does not scroll.
    """
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join(_row(row) for row in rows)
    return (
        f'<p class="caption">{caption}</p>\n'
        f'<div class="table" tabindex="0" role="region" aria-label="table"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


def _row(row: Row) -> str:
    first, *others = row.cells
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    kind = f' class="{row.kind}"' if row.kind else ""
    return f'<tr{kind}><th scope="row">{first}</th>{cells}</tr>'


def figure(picture: Picture, caption: str = "") -> str:
    """A plot, with its description for those who cannot see it."""
    told = f"<figcaption>{caption}</figcaption>" if caption else ""
    label = escape(picture.description, quote=True)
    return f'<figure><div role="img" aria-label="{label}">{picture.svg}</div>{told}</figure>\n'


def figures(parts: Sequence[str]) -> str:
    """Plots side by side, as many as the screen is wide; one or two are larger."""
    size = "few" if len(parts) < 3 else "many"
    return f'<div class="figures {size}">\n{"".join(parts)}</div>\n'


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    """A part that opens when its summary is clicked."""
    state = " open" if is_open else ""
    return f"<details{state}><summary>{summary}</summary>\n{content}</details>\n"


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page; `name` is what links point to."""
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{"".join(parts)}</section>\n'


def paragraph(html: str) -> str:
    """A paragraph."""
    return f"<p>{html}</p>\n"


def listed(items: Sequence[str], kind: str) -> str:
    """A list of HTML items; `kind` is its class."""
    return f'<ul class="{kind}">' + "".join(f"<li>{item}</li>" for item in items) + "</ul>\n"


def numbered(items: Sequence[str]) -> str:
    """A list of HTML items, numbered from 1."""
    return "<ol>" + "".join(f"<li>{item}</li>" for item in items) + "</ol>\n"
