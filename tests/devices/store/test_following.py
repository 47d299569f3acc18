"""A release that cannot be loaded, and what becomes of it once it is repaired."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecil_devices import Classifier
from edgecil_devices import following as module
from edgecil_devices.errors import BundleError, UsageError
from edgecil_devices.following import RETRY_EVERY_S, Following
from edgecil_devices.runtime import Runtime
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import Reading, read_current
from edgecil_devices.store.rollback import rollback
from edgecil_devices.teaching.overlay import Overlay
from tests.devices.store.releases import Releases, labels, passes
from tests.devices.teaching.colours import RED, pictures, save_teachable


class Damage:
    """Rot in what release 2 alone has, which can be repaired."""

    def __init__(self, releases: Releases, store: Path) -> None:
        install(releases.bundle(1), store, test=passes)
        self._shared = set((store / "blobs").iterdir())
        self._store, self._releases = store, releases
        self._sound: dict[Path, bytes] = {}

    def install(self) -> None:
        """Make release 2 current, and damage it."""
        install(self._releases.bundle(2), self._store, test=passes)
        own = set((self._store / "blobs").iterdir()) - self._shared
        self._sound = {path: path.read_bytes() for path in own}
        for path in own:
            path.write_bytes(b"rot")

    def repair(self) -> None:
        for path, data in self._sound.items():
            path.write_bytes(data)


@pytest.fixture
def damage(releases: Releases, store: Path) -> Damage:
    return Damage(releases, store)


def looked(following: Following, until: Callable[[], bool]) -> None:
    """Ask for the classifier until something is so."""
    end = time.monotonic() + 90
    while not until():
        assert time.monotonic() < end
        following.classifier()
        time.sleep(0.005)


@pytest.mark.parametrize("found_damaged", ["at the start", "later"])
def test_a_release_that_was_repaired_is_loaded(
    damage: Damage, store: Path, found_damaged: str
) -> None:
    if found_damaged == "at the start":
        damage.install()
    following = Following(store, threads=1, look_every_s=0.01, retry_every_s=0.02)
    if found_damaged == "later":
        damage.install()
    looked(following, lambda: following.problem is not None)
    assert following.problem is not None
    assert "damaged" in following.problem
    assert "; going on with " in following.problem
    assert following.classifier().classes == labels(1)
    damage.repair()
    looked(following, lambda: following.release == 2)
    assert following.classifier().classes == labels(2)
    assert following.problem is None


def test_who_goes_back_to_the_release_in_use_is_told_of_no_problem(
    damage: Damage, store: Path
) -> None:
    damage.install()
    following = Following(store, threads=1, look_every_s=0.01)
    assert following.problem is not None
    rollback(store, passes)
    looked(following, lambda: following.problem is None)
    assert following.classifier().classes == labels(1)


def test_a_damaged_release_is_tried_once_a_minute(
    damage: Damage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    tried_s: list[float] = []

    def read(path: Path) -> Reading:
        tried_s.append(now_s)
        return read_current(path)

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(module, "read_current", read)
    damage.install()
    following = Following(store, threads=1)
    for _ in range(150):
        now_s += 1
        following.classifier()
        if following._loading is not None:
            following._loading.join()
    assert RETRY_EVERY_S == 60
    assert tried_s == [1000, 1060, 1120]
    damage.repair()
    for _ in range(90):
        now_s += 1
        following.classifier()
        if following._loading is not None:
            following._loading.join()
    assert tried_s == [1000, 1060, 1120, 1180]
    assert following.release == 2


def test_no_picture_waits_for_what_was_taught(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_teachable(tiny, tmp_path / "tiny.edgecil")
    Classifier.load(path, threads=1).teach("mug", pictures(RED, 12))
    assert not Overlay(path).features_file.exists()  # no answer needed them yet
    following = Following(path, threads=1)
    run, at_once = Runtime.run, list[int]()

    def counting(runtime: Runtime, pixels: Any, *more: Any) -> Any:
        at_once.append(len(pixels))
        return run(runtime, pixels, *more)

    monkeypatch.setattr(Runtime, "run", counting)
    assert following.classifier().predict(pictures(RED, 1, 9)[0]).label == "mug"
    assert at_once == [1]


def test_a_release_that_cannot_be_computed_as_asked_is_computed_as_exported(
    releases: Releases, store: Path
) -> None:
    """Else a service with an option of its own would be dead after the next start."""
    install(releases.bundle(1), store, test=passes)
    following = Following(store, look_every_s=0, compute="fp32")
    assert following.problem is None
    install(releases.bundle(2, compute="int8"), store, test=passes)
    looked(following, lambda: following.release == 2)
    looked(following, lambda: following.problem is not None)
    told = "the release computes in int8; going on with that instead of fp32"
    assert following.problem == told
    assert following.classifier().classes == labels(2)
    started = Following(store, compute="fp32")
    assert (started.release, started.problem) == (2, told)
    install(releases.bundle(3), store, test=passes)
    looked(started, lambda: started.problem is None)
    assert started.release == 3


def test_a_bundle_that_cannot_be_computed_as_asked_is_refused(releases: Releases) -> None:
    with pytest.raises(BundleError, match="export it with --compute fp32"):
        Following(releases.bundle(1, compute="int8"), compute="fp32")


def test_no_store_makes_up_for_a_computation_that_there_is_not(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(UsageError, match="one of auto, fp32, fp16, int8"):
        Following(store, compute="fp8")
