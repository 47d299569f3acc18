"""The verb `update` on the device: a newer release into the store."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from edgecil_devices.errors import FetchError, ReleaseError, UsageError
from edgecil_devices.package import read_package
from edgecil_devices.store._verbs import add_store, tell, tell_recovery
from edgecil_devices.store.fetching import (
    FolderSource,
    NotOfferedError,
    WebSource,
    names_of,
    source_at,
)
from edgecil_devices.store.folder import Folder, write_errors
from edgecil_devices.store.help import HELP
from edgecil_devices.store.trial_process import test_in_child
from edgecil_devices.store.updating import OtherBaseError, Test, UpdateOutcome, Updater


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the arguments of this verb to argparse."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=HELP["update"])
    add_store(parser)
    parser.add_argument("--from", dest="place", metavar="URL|DIR", help=HELP["from"])


def run(arguments: Namespace) -> int:
    """Run this verb on what argparse found; the exit code."""
    if (arguments.file is None) == (arguments.place is None):
        raise UsageError("update takes either a file or --from")
    if arguments.place is None:
        tell(update(arguments.file, arguments.store), arguments.store)
    elif outcome := update_from(arguments.place, arguments.store):
        tell(outcome, arguments.store)
    return 0


def update(file: Path, store: Path, test: Test = test_in_child) -> UpdateOutcome:
    """Make the release in `file` current in `store`.

    Raises:
        BundleError: the file is not sound, not signed as it must be, not newer, lacks blobs that
            the store has not either, or fails its self-test.
        StoreError: there is no store, or it is busy, damaged or cannot be written.
    """
    folder = Folder(store)
    folder.require()
    with folder.locked():
        updater = Updater(folder, test)
        tell_recovery(updater)
        return updater.take(read_package(file, updater.trusted))


def update_from(place: str, store: Path, test: Test = test_in_child) -> UpdateOutcome | None:
    """Make the newest release that `place` offers current in `store`.

    Args:
        place: a folder or an http(s) address, laid out as `fetching` says.
        store: the folder of the store.
        test: tests the release before it is current.

    Returns:
        None where there is nothing to do; standard error says why.

    Raises:
        FetchError: it cannot be reached, or offers nothing that fits.
        BundleError: as for `update`.
        StoreError: as for `update`.
    """
    folder = Folder(store)
    folder.require()
    with folder.locked():
        updater = Updater(folder, test)
        tell_recovery(updater)
        with write_errors(folder.incoming):
            source = source_at(place, folder.incoming)
            number = source.latest()
            if why := _why_not(updater, number):
                print(f"{place}: {why}", file=sys.stderr)
                return None
            return _fetch_and_take(source, updater, number)


def _why_not(updater: Updater, number: int) -> str | None:
    """Why nothing is to be done about release `number`, if so."""
    state = updater.state
    has = state.committed.number if state.committed else 0
    if number == has:
        return f"release {number} is the newest, and current"
    if number == state.floor:
        return f"release {number} was rolled back here; waiting for a newer one"
    if number < state.floor:
        # An old copy, or somebody who keeps the newest from us: only the operator can tell.
        return f"offers release {number}, older than release {state.floor}, which was here"
    if state.refused and number == state.refused.number:
        return f"release {number} failed its self-test here; waiting for a newer one"
    return None


def _fetch_and_take(
    source: FolderSource | WebSource, updater: Updater, number: int
) -> UpdateOutcome:
    committed = updater.state.committed
    why: FetchError | ReleaseError | None = None
    for name in names_of(number, committed.number if committed else None):
        try:
            package = source.package(name, updater.trusted)
            if package.manifest.release != number:
                raise FetchError(
                    f"{name} holds release {package.manifest.release}; ask whoever offers it"
                )
            return updater.take(package)
        except (NotOfferedError, OtherBaseError) as error:
            why = error
    raise why or FetchError(f"release {number} is not offered")
