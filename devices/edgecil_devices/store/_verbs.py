"""What the verbs of the store have in common: their options and what they tell."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from edgecil_devices.options import described
from edgecil_devices.store.updating import UpdateOutcome, Updater

DEFAULT_STORE = Path("/var/lib/edgecil")
"""Where a device keeps its store unless told otherwise."""

STORE = described("Folder of the store.", metavar="DIR")


@dataclass(frozen=True)
class StoreRequest:
    """Which store a verb is for."""

    store: Path = field(default=DEFAULT_STORE, metadata=STORE)


def tell_recovery(updater: Updater) -> None:
    """Say what a crash had left."""
    if updater.recovered:
        print(updater.recovered, file=sys.stderr)


def tell(outcome: UpdateOutcome, store: Path) -> None:
    """Say what an update came to."""
    number = outcome.release.number
    written = f"{outcome.written_bytes} bytes written" if outcome.written_bytes else "nothing new"
    print(f"{store}: release {number} is current{'' if outcome.changed else ' already'}, {written}")
