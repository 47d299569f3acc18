"""`edgecil fsck`: every byte of a device's store is checked."""

import sys
from pathlib import Path

import typer

from edgecil.cli.install import Store
from edgecil_devices.store.help import DEFAULT_STORE


def fsck(store: Store = Path(DEFAULT_STORE)) -> None:
    """Check every byte of a store; exit code 1 if one is not what was written."""
    from edgecil_devices.store.fsck import tell_damage

    if code := tell_damage(store):
        raise typer.Exit(code)
    print(f"next: edgecil status --store {store}", file=sys.stderr)
