"""`edgecil teach`: a new class from a few pictures. Needs nothing but a base installation."""

import sys

import typer

from edgecil_devices.output import typed
from edgecil_devices.teaching import teach as device


def teach(request: device.TeachRequest) -> None:
    """Teach a new class from a few pictures, or with --correct what a known class looks like here.

    What is taught is kept beside the bundle, or in the store, and survives updates.
    """
    code = device.run(request)
    print(f"next: edgecil predict {typed(request.bundle)} PICTURE.jpg", file=sys.stderr)
    print(f"      edgecil taught list {typed(request.bundle)}", file=sys.stderr)
    if code:
        raise typer.Exit(code)
