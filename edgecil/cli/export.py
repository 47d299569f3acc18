"""`edgecil export`: what a run has learned, as one bundle file for a device."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli import options
from edgecil_devices.output import typed
from edgecil_export.request import ExportRequest


def export(
    *,
    run: options.RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The bundle to write.", show_default="RUN.edgecil")
    ] = None,
    request: ExportRequest,
) -> None:
    """Write what a run has learned as a bundle, after checking it against the network."""
    from edgecil_export import export as export_run

    target = out or Path(f"{run.resolve().name}.edgecil")
    report = export_run(run, target, request)
    for line in report.lines():
        print(line)
    print(f"next: edgecil predict {typed(report.path)} PICTURE.jpg")
