"""Readers and updaters at the same time."""

import multiprocessing
import os
import threading
import time
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgecil_devices import following as module
from edgecil_devices.classifier import Classifier
from edgecil_devices.errors import StoreBusyError
from edgecil_devices.following import Following
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update
from tests.devices.store.releases import Releases, labels, passes

pytestmark = pytest.mark.slow

PICTURE = np.zeros((8, 8, 3), np.uint8)


def classes(classifier: Classifier) -> tuple[str, ...]:
    return classifier.classes


def wait_for(following: Following, number: int) -> None:
    end = time.monotonic() + 90
    while following.release != number and time.monotonic() < end:
        following.classifier()
        time.sleep(0.005)
    assert following.release == number


def test_c11_two_hundred_swaps_under_a_reading_classifier(releases: Releases, store: Path) -> None:
    bundles = [releases.bundle(number) for number in range(1, 6)]
    made = [read_number(path) for path in bundles]
    assert made == [1, 2, 3, 4, 5]
    install(bundles[0], store, test=passes)
    following = Following(store, threads=1, look_every_s=0.0)
    swaps, stop = 0, threading.Event()

    def swap() -> None:
        nonlocal swaps
        install(bundles[1], store, test=passes)
        for _ in range(199):
            rollback(store, passes)
            swaps += 1
        stop.set()

    writer = threading.Thread(target=swap)
    writer.start()
    seen: dict[int, int] = {}
    while not stop.is_set():
        classifier = following.classifier()
        known = classes(classifier)
        number = int(known[0].split()[1])
        assert known == labels(number)
        assert classifier.predict(PICTURE).label in labels(number)
        seen[number] = seen.get(number, 0) + 1
        reading = read_current(store)
        assert reading.bundle.manifest.classes == labels(reading.release.number)
        assert reading.warning is None
    writer.join()
    assert swaps == 199
    assert set(seen) == {1, 2}
    assert following.problem is None


def read_number(path: Path) -> int:
    """The release in a bundle, by its class names."""
    from edgecil_devices.package import read_package

    return int(read_package(path).manifest.classes[0].split()[1])


def _update_together(barrier: Barrier, path: Path, store: Path) -> None:
    barrier.wait()
    try:
        update(path, store, test=passes)
    except StoreBusyError:
        os._exit(StoreBusyError.exit_code)
    os._exit(0)


def test_c10_two_updaters_at_once_twenty_times(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    context = multiprocessing.get_context("fork")
    codes = []
    for number in range(2, 22):
        path = releases.update(number, number - 1)
        barrier = context.Barrier(2)
        both = [
            context.Process(target=_update_together, args=(barrier, path, store)) for _ in range(2)
        ]
        for process in both:
            process.start()
        for process in both:
            process.join()
            codes.append(process.exitcode)
        assert 0 in codes[-2:]
        assert read_current(store).bundle.manifest.classes == labels(number)
        assert check(store) == []
    assert set(codes) <= {0, 75}
    assert StoreState.read(store / "state.json").floor == 21


def test_a_new_release_is_followed_without_a_restart(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    following = Following(store, threads=1, look_every_s=0.01)
    old = following.classifier()
    assert classes(old) == labels(1)
    update(releases.update(2, 1), store, test=passes)
    wait_for(following, 2)
    assert classes(following.classifier()) == labels(2)
    assert old.predict(PICTURE).label in labels(1)  # whoever still has it may go on with it


def test_the_old_release_stays_when_the_new_one_cannot_be_loaded(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    following = Following(store, threads=1, look_every_s=0.01)
    update(releases.update(2, 1), store, test=passes)
    for path in (store / "blobs").iterdir():
        path.write_bytes(b"rot")
    end = time.monotonic() + 90
    while following.problem is None and time.monotonic() < end:
        assert classes(following.classifier()) == labels(1)
        time.sleep(0.005)
    assert following.problem is not None
    assert following.problem.endswith("; going on with the release before")
    # It is followed again as soon as there is a better one.
    install(releases.bundle(3), store, test=passes)
    wait_for(following, 3)
    assert following.problem is None


def test_a_bundle_is_always_the_same(bundle_path: Path) -> None:
    following = Following(bundle_path, threads=1)
    first = following.classifier()
    bundle_path.unlink()
    assert following.classifier() is first
    assert following.release is None


def test_the_store_is_looked_at_once_a_second_at_most(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    looked_s: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))
    install(releases.bundle(1), store, test=passes)
    following = Following(store, threads=1)
    look = following._look

    def counting() -> None:
        looked_s.append(now_s)
        look()

    monkeypatch.setattr(following, "_look", counting)
    for _ in range(100):
        now_s += 0.1
        following.classifier()
    assert 9 <= len(looked_s) <= 11
    assert min(later - sooner for sooner, later in pairwise(looked_s)) > 0.95


def test_a_store_is_read_where_a_bundle_would_be(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    assert classes(Classifier.load(store, threads=1)) == labels(1)
