"""`edgecil rollback`: back to the release before."""

import sys

from edgecil_devices.output import typed
from edgecil_devices.store import rollback as device
from edgecil_devices.store._verbs import StoreRequest


def rollback(request: StoreRequest) -> None:
    """Make the previous release of a store current; once more returns to where it was."""
    device.run(request)
    print(f"next: edgecil status --store {typed(request.store)}", file=sys.stderr)
