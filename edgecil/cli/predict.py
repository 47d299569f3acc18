"""`edgecil predict`: pictures in, one line each out. Needs nothing but a base installation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli import options
from edgecil_devices.predict import HELP


def predict(
    bundle: options.BundleFile,
    sources: Annotated[
        list[str] | None, typer.Argument(help=HELP["sources"], metavar="SOURCE")
    ] = None,
    watch: Annotated[Path | None, typer.Option(help=HELP["watch"], metavar="DIR")] = None,
    top: Annotated[int, typer.Option(help=HELP["top"])] = 3,
    threshold: Annotated[float | None, typer.Option(help=HELP["threshold"])] = None,
    agree: Annotated[str | None, typer.Option(help=HELP["agree"], metavar="K/N")] = None,
    batch: Annotated[int, typer.Option(help=HELP["batch"])] = 1,
    threads: options.Threads = None,
    timing: Annotated[bool, typer.Option("--timing", help=HELP["timing"])] = False,
    as_json: Annotated[bool, typer.Option("--json", help=HELP["json"])] = False,
) -> None:
    """Classify pictures. One that cannot be read is reported, and the others go on."""
    from edgecil_devices import predict as device

    request = device.PredictRequest(
        bundle,
        tuple(sources or ()),
        watch=watch,
        top=top,
        threshold=threshold,
        agree=agree,
        batch=batch,
        threads=threads,
        timing=timing,
        json=as_json,
    )
    if code := device.predict(request):
        raise typer.Exit(code)
    look = f"status --store {bundle}" if bundle.is_dir() else f"info {bundle}"
    print(f"next: edgecil {look}", file=sys.stderr)
