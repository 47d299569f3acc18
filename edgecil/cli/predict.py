"""`edgecil predict`: pictures in, one line each out. Needs nothing but a base installation."""

import sys

import typer

from edgecil_devices import predict as device
from edgecil_devices.output import typed


def predict(request: device.PredictRequest) -> None:
    """Classify pictures. One that cannot be read is reported, and the others go on."""
    if code := device.predict(request):
        raise typer.Exit(code)
    bundle = request.bundle
    look = "status --store" if bundle.is_dir() else "info"
    print(f"next: edgecil {look} {typed(bundle)}", file=sys.stderr)
