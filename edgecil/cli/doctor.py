"""`edgecil doctor`: can this device run edgecil, and if not, why?"""

from pathlib import Path
from typing import Annotated

import typer

from edgecil_devices.doctor.verb import HELP, tell


def doctor(
    bundle: Annotated[Path | None, typer.Argument(help=HELP["bundle"])] = None,
    as_json: Annotated[bool, typer.Option("--json", help=HELP["json"])] = False,
) -> None:
    """Check this device, and a bundle on it; exit code 1 if something fails."""
    if code := tell(bundle, as_json=as_json):
        raise typer.Exit(code)
