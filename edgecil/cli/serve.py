"""`edgecil serve`: a page and an address that classify. Needs nothing but a base installation."""

from edgecil_devices.serving import verb as device


def serve(request: device.ServeRequest) -> None:
    """Classify pictures in a browser, live from its camera, and over HTTP."""
    device.serve(request)
