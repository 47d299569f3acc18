"""What the verbs of the store have in common: their options and what they tell."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from edgecil_devices.store.help import DEFAULT_STORE, HELP
from edgecil_devices.store.updating import UpdateOutcome, Updater


def add_store(parser: ArgumentParser) -> None:
    """The option --store."""
    parser.add_argument(
        "--store",
        type=Path,
        default=Path(DEFAULT_STORE),
        metavar="DIR",
        help=f"{HELP['store']} ({DEFAULT_STORE})",
    )


def tell_recovery(updater: Updater) -> None:
    """Say what a crash had left."""
    if updater.recovered:
        print(updater.recovered, file=sys.stderr)


def tell(outcome: UpdateOutcome, store: Path) -> None:
    """Say what an update came to."""
    number = outcome.release.number
    written = f"{outcome.written_bytes} bytes written" if outcome.written_bytes else "nothing new"
    print(f"{store}: release {number} is current{'' if outcome.changed else ' already'}, {written}")
