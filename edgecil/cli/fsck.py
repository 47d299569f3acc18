"""`edgecil fsck`: every byte of a device's store is checked."""

import sys

import typer

from edgecil_devices.output import typed
from edgecil_devices.store import fsck as device
from edgecil_devices.store._verbs import StoreRequest


def fsck(request: StoreRequest) -> None:
    """Check every byte of a store; exit code 1 if one is not what was written."""
    if code := device.run(request):
        raise typer.Exit(code)
    print(f"next: edgecil status --store {typed(request.store)}", file=sys.stderr)
