"""`edgecil install`: a release into a device's store, which is made if there is none."""

import sys

from edgecil_devices.output import typed
from edgecil_devices.store import install as device


def install(request: device.InstallRequest) -> None:
    """Make the release in FILE current, once its self-test has passed."""
    device.run(request)
    print(f"next: edgecil predict {typed(request.store)} PICTURE.jpg", file=sys.stderr)
