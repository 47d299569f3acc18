"""`edgecil export`: what a run has learned, as one bundle file for a device."""

from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli import options
from edgecil.cli.training_options import DataDir


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
    data_dir: DataDir = None,
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
    from edgecil_export import export as export_run
    from edgecil_export.accuracy_loss import Compute
    from edgecil_export.releases import Release

    asked = Release(release, sign, new_keys, expires)
    target = out or Path(f"{run.resolve().name}.edgecil")
    computing = Compute(compute, max_loss, force, data_dir)
    report = export_run(run, target, weights, classifier, asked, computing)
    for line in report.lines():
        print(line)
    print(f"next: edgecil predict {report.path} PICTURE.jpg")
