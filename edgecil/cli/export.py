"""`edgecil export`: what a run has learned, as one bundle file for a device."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli import options


def export(
    run: options.RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The bundle to write.", show_default="RUN.edgecil")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Store weights as fp32, fp16 (half the bytes) or int8 (a quarter).",
            show_default="as --compute",
        ),
    ] = None,
    compute: Annotated[
        str,
        typer.Option(help="fp32, or int8: faster on many processors; calibrated on exemplars."),
    ] = "fp32",
    max_loss: Annotated[
        float,
        typer.Option(help="With --compute int8: points of accuracy that may be lost, in percent."),
    ] = 1.0,
    force: Annotated[
        bool, typer.Option("--force", help="With --compute int8: write it whatever is lost.")
    ] = False,
    data_dir: options.DataDir = None,
    classifier: Annotated[
        str,
        typer.Option(help="linear: the trained head. nearest-mean: of the exemplars, as in iCaRL."),
    ] = "linear",
    sign: options.Sign = None,
    release: options.ReleaseNumber = None,
    new_keys: options.NewKeys = None,
    expires: options.Expires = None,
) -> None:
    """Write what a run has learned as a bundle, after checking it against the network."""
    from edgecil_export import ExportRequest
    from edgecil_export import export as export_run

    request = ExportRequest(
        weights=weights,
        classifier=classifier,
        compute=compute,
        max_loss_points=max_loss,
        force=force,
        data_dir=data_dir,
        release=release,
        sign=sign,
        new_keys=new_keys,
        expires=expires,
    )
    target = out or Path(f"{run.resolve().name}.edgecil")
    report = export_run(run, target, request)
    for line in report.lines():
        print(line)
    print(f"next: edgecil predict {report.path} PICTURE.jpg")
