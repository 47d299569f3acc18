"""`edgecil bench`: how fast is a bundle on this device? Needs nothing but a base installation."""

import sys
from typing import Annotated

import typer

from edgecil.cli import options
from edgecil_devices.bench import DEFAULT_SECONDS, HELP


def bench(
    bundle: options.BundleFile,
    threads: options.Threads = None,
    seconds: Annotated[float, typer.Option(help=HELP["seconds"])] = DEFAULT_SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help=HELP["json"])] = False,
) -> None:
    """Measure how long a picture takes, how many a second, and what that does to the device."""
    from edgecil_devices import bench as device

    device.bench(device.BenchRequest(bundle, threads, seconds, as_json))
    print(f"next: edgecil serve {bundle}", file=sys.stderr)
