"""The verb `install`: a release into a store, which is made if there is none."""

from dataclasses import dataclass, field
from pathlib import Path

from edgecil_devices.errors import StoreError
from edgecil_devices.options import described, option
from edgecil_devices.package import read_package
from edgecil_devices.signing import KeySet, read_public_keys
from edgecil_devices.store._verbs import DEFAULT_STORE, STORE, tell, tell_recovery
from edgecil_devices.store.folder import Folder, write_errors
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.trial_process import test_in_child
from edgecil_devices.store.updating import Test, UpdateOutcome, Updater


@dataclass(frozen=True)
class InstallRequest:
    """What one call of `install` asks for."""

    file: Path = field(
        metadata=described("A bundle; an update too, once the store has its base.", argument=True)
    )
    store: Path = field(default=DEFAULT_STORE, metadata=STORE)
    trust: Path | None = option(
        None,
        "File with the public key that must have signed every release of this new store.",
        metavar="KEY",
    )
    no_teach: bool = option(
        False,
        "Nothing can be taught in this new store; with --trust it answers only what was signed.",
    )


def run(request: InstallRequest) -> None:
    """Install a release and say what that came to."""
    made = install(request.file, request.store, request.trust, no_teach=request.no_teach)
    tell(made, request.store)


def install(
    file: Path,
    store: Path,
    trust: Path | None = None,
    test: Test = test_in_child,
    *,
    no_teach: bool = False,
) -> UpdateOutcome:
    """Make the release in `file` current in `store`.

    Args:
        file: a bundle or an update.
        store: the folder of the store; a new one is made.
        trust: public key of a new store, which then never takes what this key has not signed.
        test: tests the release before it is current.
        no_teach: make a new store one in which nothing can be taught.

    Raises:
        BundleError: the file is not sound, not signed as it must be, not newer, or fails its test.
        StoreError: the store is busy, damaged, cannot be written, has other keys, or can be taught.
    """
    folder = Folder(store)
    keys = None if trust is None else read_public_keys(trust)
    if not folder.exists:  # before a store is made for it
        read_package(file, keys)
        with write_errors(store):
            folder.require_free()
    texts = None if keys is None else keys.texts
    with folder.locked(make=True):
        if not folder.exists:
            with write_errors(store):
                folder.create(StoreState(keys=texts, teaching=not no_teach))
        updater = Updater(folder, test)
        tell_recovery(updater)
        _require_same_keys(store, updater.state.keys, keys)
        if no_teach and updater.state.teaching:
            raise StoreError(f"{store} was made without --no-teach; give that to a new store")
        return updater.take(read_package(file, updater.trusted, updater.vouched))


def _require_same_keys(store: Path, has: tuple[str, ...] | None, asked: KeySet | None) -> None:
    if asked is None or asked.texts == has:
        return
    if has is None:
        raise StoreError(f"{store} was made without --trust; trust a key in a new store")
    raise StoreError(
        f"{store} trusts another key already; a release that brings new keys changes that, "
        "see edgecil keys rotate"
    )
