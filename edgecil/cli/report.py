"""`edgecil report`: finished runs as one page to send to a colleague."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, or of comparisons.", metavar="RUNS..."),
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for the plots as SVG and PNG.", show_default="<page>_files"),
    ] = None,
    finished_only: Annotated[
        bool, typer.Option("--finished-only", help="Leave out unfinished runs.")
    ] = False,
) -> None:
    """Write one self-contained page of accuracy, bytes and forgetting, with published numbers."""
    from edgecil.report.report import write_report

    folder = plots or out.with_name(f"{out.stem}_files")
    tells = sys.stderr.isatty()
    try:
        shown = write_report(
            runs,
            out,
            folder,
            finished_only=finished_only,
            drawn=lambda name: (
                print(f"\r\x1b[Kdrawn: {name}", end="", file=sys.stderr) if tells else None
            ),
        )
    finally:
        if tells:
            print("\r\x1b[K", end="", file=sys.stderr)
    for note in shown.notes:
        print(f"note: {note}", file=sys.stderr)
    count = len(shown.runs)
    print(f"{out}: {count} run{'s' if count > 1 else ''} on one page, {out.stat().st_size} bytes")
    print(f"{folder}: the plots as SVG and PNG")
    print(f"next: open {out} in a browser, or send it: it needs no other file")
