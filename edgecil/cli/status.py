"""`edgecil status`: what a device's store holds."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecil.cli.install import Store
from edgecil_devices.store.help import DEFAULT_STORE, HELP


def status(
    store: Store = Path(DEFAULT_STORE),
    as_json: Annotated[bool, typer.Option("--json", help=HELP["json"])] = False,
) -> None:
    """Show which release is current, since when, and what it can be followed by."""
    from edgecil_devices.store.status import tell_status

    tell_status(store, as_json=as_json)
    print(f"next: edgecil update FILE --store {store}", file=sys.stderr)
