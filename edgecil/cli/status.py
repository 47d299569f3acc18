"""`edgecil status`: what a device's store holds."""

import sys

from edgecil_devices.output import typed
from edgecil_devices.store import status as device


def status(request: device.StatusRequest) -> None:
    """Show which release is current, since when, and what it can be followed by."""
    device.run(request)
    print(f"next: edgecil update FILE --store {typed(request.store)}", file=sys.stderr)
