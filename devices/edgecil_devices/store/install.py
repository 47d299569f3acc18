"""The verb `install`: a release into a store, which is made if there is none."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from edgecil_devices.errors import StoreError
from edgecil_devices.package import read_package
from edgecil_devices.signing import KeySet, read_public_keys
from edgecil_devices.store._verbs import add_store, tell, tell_recovery
from edgecil_devices.store.folder import Folder, write_errors
from edgecil_devices.store.help import HELP
from edgecil_devices.store.trial_process import test_in_child
from edgecil_devices.store.updating import Test, UpdateOutcome, Updater


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the arguments of this verb to argparse."""
    parser.add_argument("file", type=Path, metavar="FILE", help=HELP["install"])
    add_store(parser)
    parser.add_argument("--trust", type=Path, metavar="KEY", help=HELP["trust"])


def run(arguments: Namespace) -> int:
    """Run this verb on what argparse found; the exit code."""
    tell(install(arguments.file, arguments.store, arguments.trust), arguments.store)
    return 0


def install(
    file: Path, store: Path, trust: Path | None = None, test: Test = test_in_child
) -> UpdateOutcome:
    """Make the release in `file` current in `store`.

    Args:
        file: a bundle or an update.
        store: the folder of the store; a new one is made.
        trust: public key of a new store, which then never takes what this key has not signed.
        test: tests the release before it is current.

    Raises:
        BundleError: the file is not sound, not signed as it must be, not newer, or fails its test.
        StoreError: the store is busy, damaged, cannot be written, or has other keys.
    """
    folder = Folder(store)
    keys = None if trust is None else read_public_keys(trust)
    if not folder.exists:
        read_package(file, keys)  # before a store is made for it
    with folder.locked(make=True):
        if not folder.exists:
            with write_errors(store):
                folder.create(None if keys is None else keys.texts)
        updater = Updater(folder, test)
        tell_recovery(updater)
        _require_same_keys(store, updater.state.keys, keys)
        return updater.take(read_package(file, updater.trusted))


def _require_same_keys(store: Path, has: tuple[str, ...] | None, asked: KeySet | None) -> None:
    if asked is None or asked.texts == has:
        return
    if has is None:
        raise StoreError(f"{store} was made without --trust; trust a key in a new store")
    raise StoreError(
        f"{store} trusts another key already; a release that brings new keys changes that, "
        "see edgecil keys rotate"
    )
