"""`edgecil taught`: what was taught on the device. Needs only a base installation."""

from edgecil_devices.teaching import taught as device


def taught(request: device.TaughtRequest) -> None:
    """List, forget, undo or export what was taught here."""
    device.run(request)
