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
        str, typer.Option(help="Store weights as fp32, fp16 (half the bytes) or int8 (a quarter).")
    ] = "fp32",
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
    from edgecil_export.releases import Release

    asked = Release(release, sign, new_keys, expires)
    target = out or Path(f"{run.resolve().name}.edgecil")
    report = export_run(run, target, weights, classifier, asked)
    for line in report.lines():
        print(line)
    print(f"next: edgecil predict {report.path} PICTURE.jpg")
