"""Figures as files, and as SVG that can stand in a page beside others."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from edgecil_devices.files import write_synced

PNG_DPI = 200
"""920 pixels wide: sharp in a document."""


@dataclass(frozen=True)
class Picture:
    """One plot of a report."""

    name: str
    """Of its files, without the ending."""
    description: str
    """What it shows, for those who cannot see it."""
    svg: str
    """To stand in a page."""


def save(figure: Figure, name: str, description: str, folder: Path) -> Picture:
    """Write a figure as folder/name.svg and folder/name.png.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    drawn = io.BytesIO()
    # Ids come from the salt: the same plot is the same bytes again.
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    write_synced(folder / f"{name}.svg", svg)
    figure.set_layout_engine("none")  # it is laid out already
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi=PNG_DPI)
    write_synced(folder / f"{name}.png", pixels.getvalue())
    return Picture(name, description, _for_page(svg.decode(), name))


def _for_page(svg: str, name: str) -> str:
    """The element alone, with ids that no other plot of the page has, and no size of its own."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"( [^>]*?)? height="[^"]*"', r"\1\2", element, count=1)
