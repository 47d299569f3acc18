"""`edgecil doctor`: can this device run edgecil, and if not, why?"""

import typer

from edgecil_devices.doctor import verb as device


def doctor(request: device.DoctorRequest) -> None:
    """Check this device, and a bundle on it; exit code 1 if something fails."""
    if code := device.doctor(request):
        raise typer.Exit(code)
