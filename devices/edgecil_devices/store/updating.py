"""The updater: a state machine that takes a release into a store, or leaves the store as it was.

    RECEIVED -> VERIFIED -> STAGED -> TESTED -> ACTIVE -> COMMITTED -> CLEANED

A crash before STAGED leaves nothing but garbage. From STAGED on the state names the release on
trial, and the next updater to start tests it again and goes on to CLEANED, or returns to what was
committed: after a failed self-test at once, at the third attempt that came to no verdict, be it for
a crash or for want of memory.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgecil_devices.bundle import complete
from edgecil_devices.errors import (
    BundleError,
    EdgecilError,
    OldReleaseError,
    ReleaseError,
    StoreDamagedError,
    StoreError,
    UntestedError,
)
from edgecil_devices.files import sync_folder
from edgecil_devices.output import typed
from edgecil_devices.package import Package
from edgecil_devices.signing import KeySet, verify
from edgecil_devices.store.folder import Folder, write_errors
from edgecil_devices.store.records import Release, StoreState, Trial, UpdateStage
from edgecil_devices.store.trial_process import software, test_in_child

MOST_ATTEMPTS = 3
"""Self-tests of one release that may come to no verdict."""

MOST_AHEAD = 1_000_000
"""An update may not raise the release number by more; a whole bundle may."""

MOST_UNASKED = 2**52
"""Above this, half of all numbers, no release is taken that is further ahead than `MOST_AHEAD`,
unless a person installs its whole bundle: one huge number, mistyped or by a stolen key, would leave
no room for any later release."""

Test = Callable[[Path, Release], str | None]
"""Tests a release that is staged in a store; None, or what is wrong with it. Raises UntestedError
where it came to no verdict."""

_LATER = "the next update tries again"


class OtherBaseError(ReleaseError):
    """An update that lacks blobs which the store has not either."""


@dataclass(frozen=True)
class UpdateOutcome:
    """What an update came to."""

    release: Release
    """What is current now."""
    changed: bool
    """False where it was current already."""
    written_bytes: int = 0
    """Size of the blobs that were written; the store had the others."""


class Updater:
    """Changes a store whose lock is held; begins by finishing or undoing what a crash left.

    Args:
        folder: the store.
        test: tests a staged release.

    Raises:
        StoreDamagedError: the state is altered.
        StoreWriteError: the store cannot be written.
    """

    def __init__(self, folder: Folder, test: Test = test_in_child) -> None:
        self._folder, self._test_release = folder, test
        self.state = StoreState.read(folder.state_file)
        self.recovered: str | None = None
        """What the last crash left and what came of it, for people; None if nothing."""
        with write_errors(folder.path):
            self._recover()

    @property
    def trusted(self) -> KeySet | None:
        """The keys one of which must have signed whatever is taken; None: anything is taken."""
        return None if self.state.keys is None else KeySet.parse(self.state.keys)

    @property
    def vouched(self) -> frozenset[str]:
        """sha256 of the manifests of the releases here, which can be repaired without a signature.

        They were signed when they came, by keys that a release has replaced since, it may be the
        very one. `_verify` asks for a signature of all else, so nothing but their own bytes, which
        are here or were, comes in by this.
        """
        here = (self.state.committed, self.state.previous)
        return frozenset(release.manifest for release in here if release)

    def take(self, package: Package) -> UpdateOutcome:
        """Make the release of a bundle or an update current.

        Raises:
            SignatureError: no trusted key has signed it, and it is not here already.
            OldReleaseError: it is not newer than what was here.
            ReleaseError: it needs blobs that are not here, or failed its self-test.
            UntestedError: its self-test came to no verdict; the next updater tries again.
            StoreWriteError: no room, no permission, or a failing disk.
        """
        release = self._verify(package)
        contents = self._contents(package)
        with write_errors(self._folder.path):
            if release in (self.state.committed, self.state.previous):
                # Nothing to change, but damaged blobs are put right.
                repaired_bytes = self._folder.add_blobs(contents)
                if release == self.state.committed:
                    return UpdateOutcome(release, False, repaired_bytes)
                repaired = f"{repaired_bytes} damaged bytes of it were put right; "
                raise OldReleaseError(
                    f"release {release.number} is the previous one here; "
                    f"{repaired if repaired_bytes else ''}to return to it: "
                    f"edgecil rollback --store {typed(self._folder.path)}"
                )
            self._make_way(release)
            trial = Trial(release, 1)
            written_bytes = self._stage(trial, contents)
            self._go_on(trial)
        return UpdateOutcome(release, True, written_bytes)

    def rollback(self) -> Release:
        """Return to the previous release; doing it twice undoes it.

        Raises:
            StoreError: there is none.
            ReleaseError: it fails its self-test.
            UntestedError: its self-test came to no verdict; nothing has changed.
            StoreWriteError: no room, no permission, or a failing disk.
        """
        previous = self.state.previous
        if previous is None:
            raise StoreError(f"{self._folder.path} holds no previous release to return to")
        with write_errors(self._folder.path):
            trial = Trial(previous, 1)
            self._write(replace(self.state, trial=trial))
            self._go_on(trial)
        return previous

    def is_far_ahead(self, number: int) -> bool:
        """Whether release `number` is too far ahead for an update."""
        return number - self.state.floor > MOST_AHEAD

    def _verify(self, package: Package) -> Release:
        """RECEIVED -> VERIFIED."""
        state = self.state
        number = package.manifest.release
        if number is None:
            if state.keys is not None:
                raise ReleaseError("it has no release number; export it with --release")
            # On one's own desk the order of installation is the order of releases.
            current = state.committed
            same = current is not None and current.manifest == package.manifest_sha256
            number = current.number if current and same else state.floor + 1
        release = Release(number, package.manifest_sha256)
        if release in (state.committed, state.previous):
            return release  # to be repaired: see `vouched`
        if self.trusted is not None:
            verify(package.manifest_json, package.signatures, self.trusted)
        if number <= state.floor:
            raise OldReleaseError(
                f"release {number} is not newer than release {state.floor}, the newest that was "
                "here; export it again with a higher --release"
            )
        if package.base and self.is_far_ahead(number):
            raise ReleaseError(
                f"release {number} is too far ahead of release {state.floor} for an update; "
                "install its whole bundle if it is right"
            )
        return release

    def _contents(self, package: Package) -> dict[str, bytes]:
        """Every blob of the release by its sha256, each checked."""
        contents = {package.manifest_sha256: package.manifest_json, **package.blobs}
        for blob in package.missing:
            try:
                contents[blob.sha256] = self._folder.blob(blob.sha256, blob.size_bytes)
            except (FileNotFoundError, StoreDamagedError) as error:
                has = self.state.committed
                raise OtherBaseError(
                    f"the update builds on another release than {has.number if has else 'none'}, "
                    f"which is here ({blob.name} is missing or damaged); install the whole bundle"
                ) from error
        complete(package, contents)
        return contents

    def _make_way(self, release: Release) -> None:
        """Give up the release that waits for its self-test, where it is another than `release`."""
        waiting = self.state.trial
        if waiting and waiting.release == release:  # it was tried just now, see `_recover`
            raise UntestedError(f"release {release.number} is on trial; {_LATER}")
        self._undo(refuse=False)

    def _stage(self, trial: Trial, contents: dict[str, bytes]) -> int:
        """VERIFIED -> STAGED; how many bytes of blobs were written."""
        try:
            written_bytes = self._folder.add_blobs(contents)
            self._write(replace(self.state, trial=trial))
            return written_bytes
        except BaseException:
            # The new state may or may not be on the disk: only under the old one is it garbage.
            with suppress(OSError):
                self._write(self.state)
                self._clean()
            raise

    def _go_on(self, trial: Trial) -> None:
        """STAGED -> CLEANED, or back to where it began."""
        stage = UpdateStage.STAGED
        try:
            while stage is not UpdateStage.CLEANED:
                stage = _STEPS[stage](self, trial)
        except BaseException as error:
            # Whatever cannot be undone now is undone when the next updater starts.
            with suppress(OSError, EdgecilError):
                if isinstance(error, UntestedError) and not self._is_return(trial):
                    self._point_to_committed()
                else:
                    self._undo(refuse=isinstance(error, ReleaseError))
            raise

    def _is_return(self, trial: Trial) -> bool:
        """Whether a person is going back: who asks once more must not meet it half done."""
        return trial.release == self.state.previous

    def _test(self, trial: Trial) -> UpdateStage:
        number = trial.release.number
        try:
            wrong = self._test_release(self._folder.path, trial.release)
        except UntestedError as error:
            if trial.attempts < MOST_ATTEMPTS:
                again = "try again later" if self._is_return(trial) else _LATER
                raise UntestedError(
                    f"release {number} could not be tested ({error}); {again}"
                ) from error
            wrong = f"{trial.attempts} attempts came to no verdict ({error})"
        if wrong:
            raise ReleaseError(f"release {number} failed its self-test: {wrong}")
        return UpdateStage.TESTED

    def _activate(self, trial: Trial) -> UpdateStage:
        self._folder.point_to(trial.release)
        return UpdateStage.ACTIVE

    def _commit(self, trial: Trial) -> UpdateStage:
        keys, is_new = self.state.keys, trial.release.number > self.state.floor
        if keys is not None and is_new and (new := self._folder.manifest(trial.release).keys):
            keys = new
        self._write(self.state.after(trial, keys))
        return UpdateStage.COMMITTED

    def _finish(self, trial: Trial) -> UpdateStage:
        self._clean()
        return UpdateStage.CLEANED

    def _clean(self) -> None:
        state = self.state
        keep = {state.committed, state.previous, state.trial and state.trial.release} - {None}
        # Garbage does no harm, so failing to remove it is no failure; the next updater tries again.
        with suppress(OSError, EdgecilError):
            self._folder.collect({release for release in keep if release})

    def _undo(self, *, refuse: bool) -> None:
        trial = self.state.trial
        if trial is None:
            return
        self._point_to_committed()
        state = replace(self.state, trial=None)
        if refuse:
            state = replace(state, refused=trial.release, refused_by=software())
        self._write(state)
        self._clean()

    def _recover(self) -> None:
        # A killed updater may not have come to this, and what is deleted from here on must not
        # reach the disk before what was renamed.
        sync_folder(self._folder.path)
        trial = self.state.trial
        if trial is None:
            self._point_to_committed()
            self._clean()
            return
        name = f"release {trial.release.number}, which had been cut short"
        if trial.attempts >= MOST_ATTEMPTS:
            self._undo(refuse=True)
            self.recovered = f"gave up {name} {trial.attempts} times"
            return
        trial = replace(trial, attempts=trial.attempts + 1)
        self._write(replace(self.state, trial=trial))
        try:
            self._go_on(trial)
            self.recovered = f"finished {name}"
        except UntestedError as error:
            self.recovered = str(error)
        except BundleError as error:
            self.recovered = f"undid {name}: {error}"

    def _point_to_committed(self) -> None:
        try:
            current = self._folder.current()
        except StoreDamagedError:
            current = None
        if current != self.state.committed:
            self._folder.point_to(self.state.committed)

    def _write(self, state: StoreState) -> None:
        state.write(self._folder.state_file)
        self.state = state


_STEPS: dict[UpdateStage, Callable[[Updater, Trial], UpdateStage]] = {
    UpdateStage.STAGED: Updater._test,
    UpdateStage.TESTED: Updater._activate,
    UpdateStage.ACTIVE: Updater._commit,
    UpdateStage.COMMITTED: Updater._finish,
}
