"""Writes a report: the page, and its plots as files beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from edgecil.errors import UsageError
from edgecil.report.drawing import Picture, save
from edgecil.report.page import page
from edgecil.report.runs import Collection, read_runs
from edgecil.report.style import SETTINGS
from edgecil_devices.files import remove_leftovers, replace_atomically


def write_report(
    paths: Sequence[Path],
    out: Path,
    plots: Path,
    *,
    finished_only: bool = False,
    drawn: Callable[[str], None] = lambda name: None,
) -> Collection:
    """Write the page `out` and its plots, as SVG and PNG, into the folder `plots`.

    Nothing is written before all runs are read; a page that is there stays as it is until the new
    one is whole.

    Args:
        paths: folders of runs, or folders with folders of runs in them.
        out: the page.
        plots: made if it is not there.
        finished_only: leave out unfinished runs instead of refusing them.
        drawn: is told the name of every plot that was written.

    Returns:
        The runs it shows.

    Raises:
        RunError: runs that cannot be read, are unfinished, or do not belong together.
        UsageError: the page cannot lie at `out`.
        OSError: the disk is full, or a folder cannot be written.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give --out the name of a page, {out / 'report.html'}")
    if not out.parent.is_dir():
        raise UsageError(f"the folder {out.parent} does not exist; make it, or give another --out")
    collection = read_runs(paths, finished_only=finished_only)
    plots.mkdir(parents=True, exist_ok=True)

    def draw(name: str, description: str, figure: Figure) -> Picture:
        picture = save(figure, name, description, plots)
        drawn(name)
        return picture

    with mpl.rc_context(SETTINGS):
        content = page(collection, draw)
    remove_leftovers(out)
    replace_atomically(out, content.encode())
    return collection
