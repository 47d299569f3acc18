"""`edgecil rollback`: back to the release before."""

import sys
from pathlib import Path

from edgecil.cli.install import Store
from edgecil_devices.store.help import DEFAULT_STORE


def rollback(store: Store = Path(DEFAULT_STORE)) -> None:
    """Make the previous release of a store current; once more returns to where it was."""
    from edgecil_devices.store._verbs import tell
    from edgecil_devices.store.rollback import rollback as roll_back

    tell(roll_back(store), store)
    print(f"next: edgecil status --store {store}", file=sys.stderr)
