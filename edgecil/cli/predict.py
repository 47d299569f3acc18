"""`edgecil predict`: pictures in, one line each out. Needs nothing but a base installation."""

import sys

import typer

from edgecil_devices import predict as device


def predict(request: device.PredictRequest) -> None:
    """Classify pictures. One that cannot be read is reported, and the others go on."""
    if code := device.predict(request):
        raise typer.Exit(code)
    bundle = request.bundle
    look = f"status --store {bundle}" if bundle.is_dir() else f"info {bundle}"
    print(f"next: edgecil {look}", file=sys.stderr)
