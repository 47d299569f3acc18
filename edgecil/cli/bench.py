"""`edgecil bench`: how fast is a bundle on this device? Needs nothing but a base installation."""

import sys

from edgecil_devices import bench as device
from edgecil_devices.output import typed


def bench(request: device.BenchRequest) -> None:
    """Measure how long a picture takes, how many a second, and what that does to the device."""
    device.bench(request)
    print(f"next: edgecil serve {typed(request.bundle)}", file=sys.stderr)
