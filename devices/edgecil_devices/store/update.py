"""The verb `update` on the device: a newer release into the store."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from edgecil_devices._http import shown
from edgecil_devices.errors import (
    BundleCorruptError,
    BundleError,
    FetchError,
    StoreDamagedError,
    UsageError,
)
from edgecil_devices.options import option
from edgecil_devices.package import Package, read_package
from edgecil_devices.store._verbs import DEFAULT_STORE, STORE, tell, tell_recovery
from edgecil_devices.store.fetching import (
    FolderSource,
    NotOfferedError,
    WebSource,
    keep_only,
    names_of,
    source_at,
)
from edgecil_devices.store.folder import Folder, write_errors
from edgecil_devices.store.reading import read_release
from edgecil_devices.store.records import Release
from edgecil_devices.store.trial_process import software, test_in_child
from edgecil_devices.store.updating import (
    MOST_UNASKED,
    OtherBaseError,
    Test,
    UpdateOutcome,
    Updater,
)


@dataclass(frozen=True)
class UpdateRequest:
    """What one call of `update` asks for.

    Raises:
        UsageError: it names no release, or two.
    """

    file: Path | None = option(None, "An update, or a whole bundle.", argument=True)
    store: Path = field(default=DEFAULT_STORE, metadata=STORE)
    place: str | None = option(
        None,
        "Folder or http(s) address that offers releases; the newest is taken.",
        flag="--from",
        metavar="URL|DIR",
    )

    def __post_init__(self) -> None:
        if (self.file is None) == (self.place is None):
            raise UsageError("update takes either a file or --from")


def run(request: UpdateRequest) -> None:
    """Bring the store up to date and say what that came to."""
    if request.file is not None:
        tell(update(request.file, request.store), request.store)
    elif request.place is not None and (outcome := update_from(request.place, request.store)):
        tell(outcome, request.store)


def update(file: Path, store: Path, test: Test = test_in_child) -> UpdateOutcome:
    """Make the release in `file` current in `store`.

    Raises:
        BundleError: the file is not sound, not signed as it must be, not newer, lacks blobs that
            the store has not either, or fails its self-test.
        StoreError: there is no store, or it is busy, damaged or cannot be written, or the self-test
            came to no verdict.
    """
    folder = Folder(store)
    folder.require()
    with folder.locked():
        updater = Updater(folder, test)
        tell_recovery(updater)
        return updater.take(read_package(file, updater.trusted, updater.vouched))


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
            names = _names(updater, number)
            if why := _why_not(updater, number):
                committed = updater.state.committed
                damage = _damage(store, committed) if committed else None
                if committed is None or damage is None:
                    print(f"{shown(place)}: {why}", file=sys.stderr)
                    return None
                number = committed.number
                print(f"{damage}; taking release {number} whole once more", file=sys.stderr)
                names = names_of(number, None)
            keep_only(folder.incoming, names)
            outcome = _fetch_and_take(source, updater, number, names)
            keep_only(folder.incoming, ())
            return outcome


def _damage(store: Path, release: Release) -> str | None:
    """What is damaged of a release that is here, if anything is; its bundle repairs that."""
    try:
        read_release(store, release)
    except (StoreDamagedError, BundleError) as error:
        return str(error).partition(";")[0]
    return None


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
    if state.refused and number == state.refused.number and state.refused_by == software():
        return f"release {number} failed its self-test here; waiting for a newer one"
    if state.trial and number == state.trial.release.number:
        return f"release {number} could not be tested yet; the next update tries again"
    if number > MOST_UNASKED and updater.is_far_ahead(number):
        return (
            f"offers release {number}, too far ahead of release {state.floor}; "
            "install its whole bundle if it is right"
        )
    return None


def _names(updater: Updater, number: int) -> list[str]:
    """The files that hold release `number` and that the store would take, smallest first."""
    committed = updater.state.committed
    if committed is None or updater.is_far_ahead(number):
        return names_of(number, None)
    return names_of(number, committed.number)


def _fetch_and_take(
    source: FolderSource | WebSource, updater: Updater, number: int, names: list[str]
) -> UpdateOutcome:
    *smaller, whole = names
    for name in smaller:
        try:
            return updater.take(_package(source, updater, number, name))
        except (NotOfferedError, OtherBaseError):
            continue
        except BundleCorruptError as error:  # no device can take it, so whoever offers it is told
            print(f"{error}; going on with {whole}", file=sys.stderr)
    return updater.take(_package(source, updater, number, whole))


def _package(source: FolderSource | WebSource, updater: Updater, number: int, name: str) -> Package:
    package = source.package(
        name, lambda path: read_package(path, updater.trusted, updater.vouched)
    )
    if package.manifest.release != number:
        raise FetchError(f"{name} holds release {package.manifest.release}; ask whoever offers it")
    return package
