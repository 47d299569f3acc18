"""Damage on the disk, flipped bits and bad sectors: noticed, fallen back from, put right."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from edgecil_devices.errors import FetchError, ReleaseError, StoreDamagedError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import StoreState
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.update import update, update_from
from edgecil_devices.store.updating import Updater
from tests.devices.store.releases import Releases, current, fails, labels, passes
from tests.devices.store.shelf import Shelf

BUNDLE = "release-2.edgecil"


@pytest.mark.parametrize("name", ["state.json", "current"])
def test_a_flipped_bit_in_a_record_is_noticed(releases: Releases, store: Path, name: str) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    good = (store / name).read_bytes()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << (index % 8)
        (store / name).write_bytes(bad)
        assert any(name in problem.what for problem in check(store))
        assert current(store) == labels(2)  # of the two files each is enough for readers
    _require_repair_or_refusal(name, store, releases)


def _require_repair_or_refusal(name: str, store: Path, releases: Releases) -> None:
    """A damaged `current` is put right by whatever comes next; of the state there is no other."""
    if name == "current":
        Updater(Folder(store), passes)
        assert check(store) == []
    else:
        with pytest.raises(StoreDamagedError, match="state.json is damaged; install a whole"):
            update(releases.bundle(3), store, test=passes)


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_in_a_blob_is_noticed_fallen_back_from_and_repaired(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    head = store / "blobs" / releases.made(2).manifest.head.sha256
    _flip_a_bit(head)
    reading = read_current(store)
    assert reading.bundle.manifest.classes == labels(1)
    assert reading.warning is not None
    assert "is damaged" in reading.warning
    assert reading.warning.endswith("going on with release 1")
    assert len(check(store)) == 1
    outcome = install(releases.bundle(2), store, test=passes)
    assert (outcome.changed, outcome.written_bytes) == (False, head.stat().st_size)
    assert current(store) == labels(2)
    assert check(store) == []


UNREADABLE = Path("/proc/self/mem")
"""The system answers whoever reads its first byte as it does for a bad sector: EIO."""

has_one = pytest.mark.skipif(not UNREADABLE.exists(), reason="Linux has it")


def _make_unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to(UNREADABLE)
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        path.read_bytes()


@has_one
@pytest.mark.parametrize("which", ["head", "manifest"])
def test_a_bad_sector_in_a_blob_is_noticed_fallen_back_from_and_repaired(
    releases: Releases, store: Path, which: str
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    manifest = StoreState.read(store / "state.json").committed
    assert manifest is not None
    head = releases.made(2).manifest.head.sha256
    blob = store / "blobs" / (head if which == "head" else manifest.manifest)
    size_bytes = blob.stat().st_size
    _make_unreadable(blob)
    reading = read_current(store)
    assert reading.bundle.manifest.classes == labels(1)
    assert reading.warning == (
        f"{blob} is damaged; install the whole bundle of its release again; going on with release 1"
    )
    assert [problem.release for problem in check(store)] == [2]
    outcome = install(releases.bundle(2), store, test=passes)
    assert (outcome.changed, outcome.written_bytes) == (False, size_bytes)
    assert current(store) == labels(2)
    assert check(store) == []


@has_one
def test_an_update_of_a_base_with_a_bad_sector_wants_the_whole_bundle(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    _make_unreadable(store / "blobs" / releases.made(1).manifest.trunk.sha256)
    with pytest.raises(ReleaseError, match="is missing or damaged.; install the whole bundle"):
        update(releases.update(2, 1), store, test=passes)
    update(releases.bundle(2), store, test=passes)
    assert current(store) == labels(2)


class _Unreadable(io.FileIO):
    """A file that is as large as ever, and in a bad sector."""

    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readall(self) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("name", ["state.json", "current"])
def test_a_bad_sector_in_a_record_is_noticed(
    releases: Releases, store: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    opened, bad = Path.open, (store / name).stat().st_ino
    (store / name).with_suffix(".bad").hardlink_to(store / name)  # so that no other takes its inode

    def read(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if path == store / name and path.stat().st_ino == bad:
            return io.BufferedReader(_Unreadable(path))
        return opened(path, mode, *more, **named)

    monkeypatch.setattr(Path, "open", read)
    (problem,) = check(store)
    assert f"{name} is damaged" in problem.what
    assert current(store) == labels(2)  # of the two files each is enough for readers
    _require_repair_or_refusal(name, store, releases)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_keeps_a_sound_blob_from_being_read_is_no_damage(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    install(releases.bundle(1), store, test=passes)
    opened = Path.open

    def refuse(path: Path, *more: Any, **named: Any) -> Any:
        if path.parent.name == "blobs":
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *more, **named)

    monkeypatch.setattr(Path, "open", refuse)
    for read in (read_current, check):
        with pytest.raises(OSError, match=os.strerror(number)):
            read(store)


def test_the_previous_release_is_repaired_too_and_stays_the_previous_one(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    install(releases.bundle(2), store, test=passes)
    _flip_a_bit(store / "blobs" / releases.made(1).manifest.head.sha256)
    (problem,) = check(store)
    assert problem.release == 1
    with pytest.raises(ReleaseError, match="damaged bytes of it were put right; to return to it"):
        install(releases.bundle(1), store, test=fails)
    assert check(store) == []
    with pytest.raises(ReleaseError, match="is the previous one here; to return to it"):
        install(releases.bundle(1), store, test=fails)
    assert current(store) == labels(2)


def test_a_release_without_a_number_is_repaired_after_a_rollback(
    releases: Releases, store: Path
) -> None:
    first = releases.bundle(None)
    install(first, store, test=passes)
    install(releases.bundle(2), store, test=passes)
    rollback(store, passes)
    _flip_a_bit(store / "blobs" / releases.made(None).manifest.head.sha256)
    assert [problem.release for problem in check(store)] == [1]
    outcome = install(first, store, test=fails)
    assert (outcome.changed, outcome.release.number) == (False, 1)
    assert check(store) == []
    assert current(store) == labels(0)


@pytest.mark.parametrize("shared", [True, False])
def test_rot_in_the_newest_release_is_put_right(
    offered: Shelf,
    store: Path,
    releases: Releases,
    capsys: pytest.CaptureFixture[str],
    shared: bool,
) -> None:
    """Of what both releases share, nothing is left to fall back to."""
    update_from(offered.address, store, passes)
    manifest = releases.made(2).manifest
    blob = manifest.trunk if shared else manifest.head
    (store / "blobs" / blob.sha256).write_bytes(b"rotten")
    state = (store / "state.json").read_bytes()
    offered.asked.clear()
    outcome = update_from(offered.address, store, fails)
    assert outcome is not None
    assert (outcome.changed, outcome.written_bytes) == (False, blob.size_bytes)
    assert offered.asked == [("latest", None), (BUNDLE, None)]
    assert f"{blob.sha256} is damaged; taking release 2 whole" in capsys.readouterr().err
    assert current(store) == labels(2)
    assert read_current(store).warning is None
    assert (store / "state.json").read_bytes() == state
    assert list((store / "incoming").iterdir()) == []


def test_rot_is_put_right_though_the_newest_was_rolled_back_here(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    update_from(offered.address, store, passes)
    rollback(store, passes)
    trunk = releases.made(1).manifest.trunk
    (store / "blobs" / trunk.sha256).write_bytes(b"rotten")
    offered.files["release-1.edgecil"] = releases.bundle(1).read_bytes()
    assert update_from(offered.address, store, fails) is not None
    assert current(store) == labels(1)
    assert read_current(store).warning is None


def test_rot_is_told_of_where_the_whole_bundle_is_not_offered(
    offered: Shelf, store: Path, releases: Releases
) -> None:
    update_from(offered.address, store, passes)
    (store / "blobs" / releases.made(2).manifest.head.sha256).unlink()
    del offered.files[BUNDLE]
    with pytest.raises(FetchError, match=f"{BUNDLE}: the server answers 404"):
        update_from(offered.address, store, passes)
