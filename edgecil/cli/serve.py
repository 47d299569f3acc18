"""`edgecil serve`: a page and an address that classify. Needs nothing but a base installation."""

from typing import Annotated

import typer

from edgecil.cli import options
from edgecil_devices.serving.verb import HELP


def serve(
    bundle: options.BundleFile,
    host: Annotated[str, typer.Option(help=HELP["host"])] = "127.0.0.1",
    port: Annotated[int, typer.Option(help=HELP["port"])] = 8000,
    allow_host: Annotated[
        list[str] | None, typer.Option(help=HELP["allow_host"], metavar="NAME")
    ] = None,
    threads: options.Threads = None,
    queue: Annotated[int, typer.Option(help=HELP["queue"])] = 16,
    max_mb: Annotated[float, typer.Option(help=HELP["max_mb"], metavar="MB")] = 16,
    timeout: Annotated[float, typer.Option(help=HELP["timeout"], metavar="S")] = 20,
) -> None:
    """Classify pictures in a browser, live from its camera, and over HTTP."""
    from edgecil_devices.serving import verb as device

    device.serve(
        device.ServeRequest(
            bundle,
            host=host,
            port=port,
            allow_host=tuple(allow_host or ()),
            threads=threads,
            queue=queue,
            max_mb=max_mb,
            timeout=timeout,
        )
    )
