"""Self-tests that come to no verdict: no memory, no process, no time. The release may be sound."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from edgecil_devices import selftest
from edgecil_devices._onnxruntime import version as onnxruntime_version
from edgecil_devices.errors import BundleError, ReleaseError, SelfTestError, UntestedError
from edgecil_devices.store import trial_process
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.records import (
    Release,
    StoreState,
    Trial,
    read_checked,
    write_checked,
)
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.trial_process import test_in_child as try_in_child
from edgecil_devices.store.update import update, update_from
from edgecil_devices.store.updating import Test, Updater
from tests.devices.store.releases import Releases, current, fails, labels, passes, short

KILLED = r"\(its self-test was ended by SIGKILL; is there enough memory\?\)"


def short_for(number: int) -> Test:
    """A self-test that is killed for one release and passed by the others."""
    return lambda store, release: (short if release.number == number else passes)(store, release)


def state_of(store: Path) -> StoreState:
    return StoreState.read(store / "state.json")


@pytest.fixture
def offering(releases: Releases, store: Path) -> str:
    """A store with release 1, and a folder that offers release 2."""
    install(releases.bundle(1), store, test=passes)
    releases.update(2, 1)
    (releases.folder / "latest").write_text("2")
    return str(releases.folder)


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the processes of self-tests have so many kilobytes of addresses and no more."""
    real, python = sys.executable, tmp_path / "python"

    def limit(kilobytes: int) -> None:
        python.write_text(f'#!/bin/sh\nulimit -v {kilobytes}\nexec "{real}" "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    return limit


def test_a_release_that_cannot_be_tested_waits_for_the_next_update(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    path = releases.update(2, 1)
    later = f"release 2 could not be tested {KILLED}; the next update tries again"
    with pytest.raises(UntestedError, match=later) as caught:
        update(path, store, test=short)
    assert caught.value.exit_code == 75
    state = state_of(store)
    assert state.trial is not None
    assert (state.trial.release.number, state.floor, state.refused) == (2, 1, None)
    assert (current(store), check(store)) == (labels(1), [])
    with pytest.raises(UntestedError, match="release 2 is on trial; the next update tries again"):
        update(path, store, test=short)
    outcome = update(path, store, test=passes)
    assert (outcome.changed, outcome.written_bytes) == (False, 0)  # it had been finished first
    assert (current(store), check(store)) == (labels(2), [])
    assert state_of(store).trial is None


def test_a_release_that_never_can_be_tested_is_refused_at_the_third_attempt(
    offering: str, releases: Releases, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in (store / "blobs").iterdir()}
    tried = []

    def count(store: Path, release: Release) -> str | None:
        tried.append(release.number)
        return short(store, release)

    with pytest.raises(UntestedError):
        update_from(offering, store, count)
    (Path(offering) / "release-2-from-1.update").unlink()  # nothing is fetched any more
    said = []
    for _ in range(3):
        assert update_from(offering, store, count) is None
        said.append(capsys.readouterr().err)
    assert "could not be tested yet; the next update tries again" in said[0]
    assert "release 2 failed its self-test: 3 attempts came to no verdict (its self-" in said[1]
    assert "release 2 failed its self-test here; waiting for a newer one" in said[2]
    assert tried == [2, 2, 2]
    assert {path.name for path in (store / "blobs").iterdir()} == before
    releases.update(3, 1)
    (releases.folder / "latest").write_text("3")
    update_from(offering, store, passes)
    assert current(store) == labels(3)


def test_a_release_that_waits_gives_way_to_a_newer_one(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(UntestedError):
        update(releases.update(2, 1), store, test=short)
    own = releases.made(2).manifest.head.sha256
    assert (store / "blobs" / own).exists()
    update(releases.update(3, 1), store, test=short_for(2))
    assert current(store) == labels(3)
    assert not (store / "blobs" / own).exists()
    state = state_of(store)
    assert state.previous is not None
    assert (state.trial, state.previous.number) == (None, 1)


def test_a_first_release_that_cannot_be_tested_is_installed_later(
    releases: Releases, store: Path
) -> None:
    with pytest.raises(UntestedError, match="release 1 could not be tested"):
        install(releases.bundle(1), store, test=short)
    assert check(store) == []
    install(releases.bundle(1), store, test=passes)
    assert current(store) == labels(1)


def test_a_way_back_that_cannot_be_tested_is_not_gone_later(
    releases: Releases, store: Path
) -> None:
    """Who asks once more would else go back twice, and be where he was."""
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    before = state_of(store)
    with pytest.raises(UntestedError, match=f"{KILLED}; try again later"):
        rollback(store, short)
    assert (state_of(store), current(store)) == (before, labels(2))
    assert rollback(store, passes).release.number == 1
    assert current(store) == labels(1)


def test_readers_get_the_committed_release_while_one_waits_that_a_crash_left_active(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    before = state_of(store)
    two = update(releases.update(2, 1), store, test=passes).release
    replace(before, trial=Trial(two, 1)).write(store / "state.json")
    assert current(store) == labels(2)
    recovered = Updater(Folder(store), short).recovered
    assert recovered is not None
    assert recovered.startswith("release 2 could not be tested (")
    assert current(store) == labels(1)
    recovered = Updater(Folder(store), passes).recovered
    assert recovered == "finished release 2, which had been cut short"
    assert current(store) == labels(2)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -9 $$", "its self-test was ended by SIGKILL; is there enough memory?"),
        ("exec sleep 60", "its self-test took longer than 0.3 s"),
        ("exit 3", "its self-test ended with 3"),
        ("echo ImportError: no room >&2; exit 1", "its self-test ended with 1: ImportError: no"),
        (None, "its self-test cannot be started: "),
    ],
)
def test_a_self_test_that_is_killed_or_hangs_is_no_verdict(
    releases: Releases,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    why: str,
) -> None:
    release = install(releases.bundle(1), store, test=passes).release
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    if script:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        monkeypatch.setattr(trial_process, "TIME_LIMIT_S", 0.3 if "sleep" in script else 60)
    with pytest.raises(UntestedError) as caught:
        try_in_child(store, release)
    assert str(caught.value).startswith(why)


def from_onnxruntime(text: str) -> BundleError:
    """What `_onnxruntime` makes of one of onnxruntime's errors, which share no type."""
    error = BundleError("block-01.onnx: onnxruntime cannot load it; export it again")
    error.__cause__ = RuntimeError(text)
    return error


# The texts are those of onnxruntime 1.32 under `ulimit -v`, the last one's where threads run out.
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SelfTestError("the logits differ"), 65, "the logits differ"),
        (from_onnxruntime("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF"), 65, "block-01.onnx: "),
        (from_onnxruntime("Exception during loading: std::bad_alloc"), 71, "there is not enough"),
        (
            from_onnxruntime("Failed to allocate memory for requested buffer of size 67108864"),
            71,
            "there is not enough memory",
        ),
        (
            from_onnxruntime("PosixThread pthread_create failed, error code: 11"),
            71,
            "there is not enough memory",
        ),
        (MemoryError(), 71, "there is not enough memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 71, "[Errno 24] Too many open files"),
    ],
)
def test_only_what_is_wrong_with_the_release_is_a_verdict(
    releases: Releases,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    said: str,
) -> None:
    release = install(releases.bundle(1), store, test=passes).release

    def fail(bundle: object) -> None:
        raise error

    monkeypatch.setattr(selftest, "self_test", fail)
    assert trial_process.main([str(store), "1", release.manifest]) == code
    assert capsys.readouterr().err.startswith(said)


def test_too_little_memory_for_python_onnxruntime_or_its_threads_is_never_a_verdict(
    releases: Releases, store: Path, limited: Callable[[int], None]
) -> None:
    release = install(releases.bundle(1), store, test=passes).release
    untested = 0
    for kilobytes in (30_000, 90_000, 130_000, 160_000, 175_000):
        limited(kilobytes)
        try:
            assert try_in_child(store, release) is None, kilobytes
        except UntestedError:
            untested += 1
    assert untested >= 2  # how much is enough is a matter of versions


def test_a_release_that_needs_more_memory_than_there_is_ends_refused(
    offering: str, store: Path, limited: Callable[[int], None]
) -> None:
    limited(90_000)
    with pytest.raises(UntestedError):
        update_from(offering, store)
    assert state_of(store).refused is None
    assert [update_from(offering, store) for _ in range(2)] == [None, None]
    state = state_of(store)
    assert state.refused is not None
    assert (state.refused.number, state.trial) == (2, None)
    assert current(store) == labels(1)


def test_c13_a_device_with_too_little_memory_keeps_the_old_release(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    path = releases.update(2, 1)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (140_000_000, 140_000_000))

    command = [sys.executable, "-m", "edgecil_devices", "update", str(path), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode != 0
    assert current(store) == labels(1)
    assert state_of(store).refused is None
    update(path, store)
    assert current(store) == labels(2)


def test_a_refused_release_is_fetched_again_once_other_software_is_installed(
    offering: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the message of a release for a newer onnxruntime advises."""
    old = "onnxruntime 1.24.4 is too old for this bundle; run: pip install 'onnxruntime>=1.30.0'"
    with pytest.raises(ReleaseError, match=r"onnxruntime 1\.24\.4 is too old"):
        update_from(offering, store, lambda at, release: old)
    by = state_of(store).refused_by
    assert by is not None
    assert by.endswith(f", onnxruntime {onnxruntime_version()}")
    assert update_from(offering, store, passes) is None

    real = metadata.version

    def upgraded(name: str) -> str:
        return "99.0.1" if name == "onnxruntime" else real(name)

    monkeypatch.setattr(metadata, "version", upgraded)
    with pytest.raises(ReleaseError, match="failed its self-test"):
        update_from(offering, store, fails)  # that it can be tried again does not make it good
    assert update_from(offering, store, passes) is None
    monkeypatch.undo()
    update_from(offering, store, passes)
    assert current(store) == labels(2)
    assert (state_of(store).refused, state_of(store).refused_by) == (None, None)


def test_what_an_older_edgecil_refused_is_fetched_once_more(offering: str, store: Path) -> None:
    """It kept no versions, and was another one itself."""
    with pytest.raises(ReleaseError):
        update_from(offering, store, fails)
    record = read_checked(store / "state.json")
    del record["refused_by"]
    write_checked(store / "state.json", record)
    with pytest.raises(ReleaseError):
        update_from(offering, store, fails)
    assert update_from(offering, store, passes) is None


def test_wrong_answers_are_refused_at_once(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes)
    with pytest.raises(ReleaseError, match="release 2 failed its self-test: the logits differ"):
        update(releases.update(2, 1), store, test=lambda at, release: "the logits differ")
    refused = state_of(store).refused
    assert refused is not None
    assert refused.number == 2
