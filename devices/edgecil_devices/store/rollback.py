"""The verb `rollback`: back to the release before."""

from pathlib import Path

from edgecil_devices.store._verbs import StoreRequest, tell, tell_recovery
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.trial_process import test_in_child
from edgecil_devices.store.updating import Test, UpdateOutcome, Updater


def run(request: StoreRequest) -> None:
    """Return to the release before and say what that came to."""
    tell(rollback(request.store), request.store)


def rollback(store: Path, test: Test = test_in_child) -> UpdateOutcome:
    """Make the previous release current; once more returns to where it was.

    Raises:
        StoreError: there is no store or no previous release, or the store is busy, damaged or
            cannot be written.
        ReleaseError: the previous release fails its self-test.
    """
    folder = Folder(store)
    folder.require()
    with folder.locked():
        updater = Updater(folder, test)
        tell_recovery(updater)
        return UpdateOutcome(updater.rollback(), changed=True)
