"""Any history of installs, updates, crashes, damage, rollbacks and collections, with a reader.

Whatever happened, the reader gets one whole release: the last that was committed, the one before if
a bit of it has rotted, or the one that a crash cut short.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgecil_devices.errors import ReleaseError, StoreError, UntestedError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import Reading, read_current
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update
from edgecil_devices.store.updating import Test, Updater
from tests.crash.recording import KilledError, Recorder
from tests.devices.conftest import FEATURES, MAP_CHANNELS, TinyNetwork
from tests.devices.store.releases import Releases, fails, labels, passes, short


def tiny_network() -> TinyNetwork:
    random = np.random.default_rng(0)
    return TinyNetwork(
        trunk=random.normal(size=(MAP_CHANNELS, 3)),
        blocks=[random.normal(size=(FEATURES, MAP_CHANNELS)) for _ in range(2)],
        head=random.normal(size=(3, 2 * FEATURES + 1)),
    )


class Histories(RuleBasedStateMachine):
    """The model is three numbers: what is current, what was before, and the highest so far."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(mkdtemp(dir=memory))
        self.releases = Releases(tiny_network(), self.folder / "releases")
        self.store = self.folder / "store"
        install(self.releases.bundle(1), self.store, test=passes)
        self.current, self.floor = 1, 1
        self.previous: int | None = None
        self.rotten: set[int] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def commit(self, number: int) -> None:
        if number != self.current:
            self.current, self.previous = number, self.current
        self.floor = max(self.floor, number)

    def read(self) -> Reading:
        reading = read_current(self.store)
        assert reading.bundle.manifest.classes == labels(reading.release.number)
        return reading

    @precondition(lambda self: not self.rotten)
    @rule(ahead=st.integers(1, 3))
    def take_an_update(self, ahead: int) -> None:
        number = self.floor + ahead
        update(self.releases.update(number, self.current), self.store, test=passes)
        self.commit(number)

    @rule(ahead=st.integers(1, 3))
    def take_a_bundle(self, ahead: int) -> None:
        number = self.floor + ahead
        install(self.releases.bundle(number), self.store, test=passes)
        self.rotten &= {self.current}
        self.commit(number)

    @rule()
    def repair_by_the_bundle_of_the_current_release(self) -> None:
        assert not install(self.releases.bundle(self.current), self.store, test=fails).changed
        self.rotten -= {self.current}

    @rule(back=st.integers(0, 3))
    def refuse_an_older_one(self, back: int) -> None:
        number = self.floor - back
        if number >= 1 and number != self.current:
            with pytest.raises(ReleaseError, match="is not newer|is the previous one"):
                install(self.releases.bundle(number), self.store, test=passes)
            if number == self.previous:  # refused, but what had rotted of it is good again
                self.rotten -= {number}

    @rule()
    def refuse_a_bad_one(self) -> None:
        with pytest.raises(ReleaseError, match="failed its self-test"):
            install(self.releases.bundle(self.floor + 1), self.store, test=fails)

    @rule()
    def be_short_of_memory(self) -> None:
        number = self.floor + 1
        with pytest.raises(UntestedError):
            install(self.releases.bundle(number), self.store, test=short)
        self.start_again(number)
        assert self.current == number

    @rule()
    def roll_back(self) -> None:
        if self.previous is None:
            with pytest.raises(StoreError, match="no previous release"):
                rollback(self.store, passes)
        elif self.previous in self.rotten:
            with pytest.raises(ReleaseError, match="failed its self-test"):
                rollback(self.store, passes)
        else:
            rollback(self.store, passes)
            self.commit(self.previous)

    @rule(after=st.integers(1, 60), test=st.sampled_from([passes, fails]))
    def be_killed_in_an_install(self, after: int, test: Test) -> None:
        number = self.floor + 1
        path = self.releases.bundle(number)
        with Recorder(self.folder, after, None), suppress(KilledError, ReleaseError):
            install(path, self.store, test=test)
        assert self.read().release.number in (number, self.current, self.previous)
        self.start_again(number)

    @rule(after=st.integers(1, 30))
    def be_killed_in_a_rollback(self, after: int) -> None:
        if self.previous is None or self.rotten:
            return
        with Recorder(self.folder, after, None), suppress(KilledError):
            rollback(self.store, passes)
        assert self.read().release.number in (self.current, self.previous)
        self.start_again(self.previous)

    def start_again(self, number: int) -> None:
        """The next updater finishes or undoes; either is right."""
        with Folder(self.store).locked():
            state = Updater(Folder(self.store), passes).state
        assert state.trial is None
        assert state.committed is not None
        assert state.committed.number in (self.current, number)
        if state.committed.number == number:
            self.rotten &= {self.current}
            self.commit(number)

    @rule(choice=st.randoms())
    def rot(self, choice: Any) -> None:
        """One bit of what only the current release needs."""
        if self.previous is None or self.rotten:
            return
        made, older = self.releases.made(self.current), self.releases.made(self.previous)
        shared = {blob.sha256 for blob in older.manifest.blobs}
        own = [blob.sha256 for blob in made.manifest.blobs if blob.sha256 not in shared]
        path = self.store / "blobs" / choice.choice(own)
        data = bytearray(path.read_bytes())
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
        path.write_bytes(data)
        self.rotten.add(self.current)

    @invariant()
    def the_reader_gets_one_whole_release(self) -> None:
        reading = self.read()
        if self.current in self.rotten:
            assert reading.release.number == self.previous
            assert reading.warning is not None
            assert check(self.store) != []
        else:
            assert reading.release.number == self.current
            assert reading.warning is None
            assert bool(check(self.store)) == bool(self.rotten)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    suppress_health_check=list(HealthCheck),
)
