"""How plots look: colours that colour-blind readers can tell apart, and a mark for each method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INK = "#1b1f24"
"""Text and axes."""
FAINT = "#d5dae0"
"""Grid lines."""

# Okabe and Ito, "Color Universal Design" (2008), without its yellow, too pale for lines on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7A828B"
# Of Paul Tol's muted colours, for three methods more.
WINE, INDIGO, TEAL = "#882255", "#332288", "#44AA99"

OWNER_COLOURS = {
    "trunk": BLUE,
    "blocks": SKY,
    "head": VERMILION,
    "exemplars": GREEN,
    "rest": GREY,
}
"""Colours of the owners of bytes, in the order in which they are stacked."""


def owned(bytes_by_owner: Mapping[str, int]) -> dict[str, int]:
    """Bytes by the keys of `OWNER_COLOURS`; names and whatever else there is are the rest."""
    sizes = {owner: bytes_by_owner.get(owner, 0) for owner in OWNER_COLOURS}
    sizes["rest"] = sum(bytes_by_owner.values()) - sum(sizes.values())
    return sizes


SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "svg.fonttype": "none",
    "figure.facecolor": "white",
}
"""Of matplotlib; text in SVG stays text, so that it can be searched and scales."""

_MARKS = {
    "finetune": (GREY, "x"),
    "replay": (SKY, "^"),
    "icarl": (ORANGE, "s"),
    "wa": (GREEN, "D"),
    "der": (PURPLE, "v"),
    "foster": (BLUE, "P"),
    "memo": (VERMILION, "o"),
    "memo-2": (WINE, "h"),
    "thrift": (INDIGO, "X"),
    "slda": (TEAL, "p"),
    "joint": (BLACK, "*"),
}
_OTHER_MARK = (GREY, "d")
_VARIANT_LINES = ("-", "-.", ":", (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Line:
    """How one line of a plot is drawn."""

    colour: str
    """Of line and marker; the method's."""
    marker: str
    """The method's."""
    dashes: Any
    """Line style: solid, and others for variants of the same method."""

    def drawn(self) -> dict[str, Any]:
        """As keywords of matplotlib, for what was measured here."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes}

    def drawn_as_published(self) -> dict[str, Any]:
        """As keywords of matplotlib: dashed, thinner, with hollow markers."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": (0, (5, 2.5)),
            "linewidth": 1.1,
            "markersize": 4,
            "markerfacecolor": "white",
            "alpha": 0.85,
        }


def line_of(method: str, variant: int = 0) -> Line:
    """The line of a method; `variant` counts the lines of the same method from 0."""
    colour, marker = _MARKS.get(method, _OTHER_MARK)
    return Line(colour, marker, _VARIANT_LINES[variant % len(_VARIANT_LINES)])
