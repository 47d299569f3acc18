"""What `fsck` finds in a store, and that what it says puts it right."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil_devices import Classifier
from edgecil_devices.errors import ReleaseError, StoreDamagedError
from edgecil_devices.store._verbs import StoreRequest
from edgecil_devices.store.fsck import Problem, check, run
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.rollback import rollback
from edgecil_devices.store.status import read_status
from edgecil_devices.store.update import update, update_from
from edgecil_devices.teaching.overlay import Overlay
from tests.devices.store.releases import Key, Releases, fails, labels, passes
from tests.devices.teaching.colours import RED, pictures


@pytest.fixture
def taught(releases: Releases, store: Path) -> Overlay:
    """What a store has been taught, which is sound."""
    install(releases.bundle(1), store, test=passes)
    Classifier.load(store).teach("mug", pictures(RED, 4))
    assert check(store) == []
    return Overlay(store)


@pytest.mark.parametrize("remedy", ["install", "update"])
def test_a_missing_current_is_damage_that_the_next_install_or_update_puts_right(
    releases: Releases, store: Path, remedy: str
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    (store / "current").unlink()
    missing = f"{store / 'current'} is missing; the next install or update puts it right"
    reading = read_current(store)
    assert reading.bundle.manifest.classes == labels(2)
    assert reading.warning == f"{missing}; going on with release 2"
    status = read_status(store)
    assert (status.release, status.age_days, status.warning) == (2, None, reading.warning)
    assert status.lines()[1].startswith("current since an unknown day; previous: release 1; ")
    assert check(store) == [Problem(missing, 2)]
    put_right(remedy, releases, store)
    reading = read_current(store)
    assert (reading.bundle.manifest.classes, reading.warning) == (labels(2), None)
    assert read_status(store).age_days == pytest.approx(0, abs=0.1)
    assert check(store) == []


@pytest.mark.parametrize("remedy", ["install", "update", "an older update"])
def test_a_damaged_current_is_put_right_likewise(
    releases: Releases, store: Path, remedy: str
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    (store / "current").write_bytes(b"{}")
    damaged = f"{store / 'current'} is damaged; the next install or update puts it right"
    assert read_current(store).warning == f"{damaged}; going on with release 2"
    assert check(store) == [Problem(damaged)]
    put_right(remedy, releases, store)
    reading = read_current(store)
    assert (reading.bundle.manifest.classes, reading.warning) == (labels(2), None)


def put_right(remedy: str, releases: Releases, store: Path) -> None:
    """Each brings nothing new."""
    if remedy == "install":
        install(releases.bundle(2), store, test=fails)
    elif remedy == "update":
        (releases.folder / "latest").write_text("2")
        assert update_from(str(releases.folder), store, fails) is None
    else:
        with pytest.raises(ReleaseError, match="release 1 is the previous one here"):
            update(releases.bundle(1), store, fails)


def test_without_current_and_with_a_damaged_release_the_one_before_goes_on(
    releases: Releases, store: Path
) -> None:
    install(releases.bundle(1), store, test=passes)
    update(releases.update(2, 1), store, test=passes)
    (store / "current").unlink()
    (store / "blobs" / releases.made(2).manifest.head.sha256).write_bytes(b"")
    assert read_current(store).bundle.manifest.classes == labels(1)


@pytest.mark.parametrize("line", ["edgecil", "edgecil_devices"])
def test_whoever_reads_a_store_without_current_is_told_and_served(
    releases: Releases, store: Path, tmp_path: Path, line: str
) -> None:
    install(releases.bundle(1), store, test=passes)
    (store / "current").unlink()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    words = [sys.executable, "-m", line, "predict", str(store), str(tmp_path / "a.png"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] in labels(1)
    assert f"warning: {store / 'current'} is missing; the next install or update" in done.stderr


def test_a_lost_state_is_told_and_no_other_is_made_in_its_place(
    releases: Releases, store: Path, tmp_path: Path
) -> None:
    """Or whoever installs there would be trusted, whatever key the store was made with."""
    trust = Key(1).save(tmp_path / "key.pub")
    install(releases.bundle(1, Key(1)), store, trust, passes)
    (store / "state.json").unlink()
    told = f"{store / 'state.json'} is missing; install a whole bundle into a new store"
    assert read_current(store).bundle.manifest.classes == labels(1)
    assert check(store) == [Problem(told)]
    for verb in (
        lambda: install(releases.bundle(2), store, test=passes),
        lambda: update(releases.bundle(2), store, passes),
        lambda: rollback(store, passes),
        lambda: read_status(store),
    ):
        with pytest.raises(StoreDamagedError, match=f"^{re.escape(told)}$"):
            verb()
    assert read_current(store).bundle.manifest.classes == labels(1)
    install(releases.bundle(1, Key(1)), tmp_path / "new", trust, passes)  # as it says
    assert check(tmp_path / "new") == []


def test_where_the_state_is_damaged_no_bundle_is_asked_for(
    releases: Releases, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(releases.bundle(1), store, test=passes)
    (store / "blobs" / releases.made(1).manifest.head.sha256).write_bytes(b"")
    assert run(StoreRequest(store)) == 1
    assert "to repair: edgecil install BUNDLE" in capsys.readouterr().err
    (store / "state.json").write_bytes(b"{}")
    assert run(StoreRequest(store)) == 1
    said, told = capsys.readouterr()
    assert "state.json is damaged; install a whole bundle into a new store\n" in said
    assert told == ""


def test_a_release_of_a_newer_edgecil_asks_for_that_and_for_no_bundle(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(releases.bundle(1), store, test=passes)
    monkeypatch.setattr("edgecil_devices.manifest.FORMAT", 0)
    (problem,) = check(store)
    assert problem.what.endswith("install a newer edgecil")
    assert problem.release is None


def test_a_store_whose_first_release_was_refused_is_empty_and_sound(
    releases: Releases, store: Path
) -> None:
    with pytest.raises(ReleaseError):
        install(releases.bundle(1), store, test=fails)
    assert not (store / "current").exists()
    assert check(store) == []


def test_a_damaged_list_of_what_was_taught_is_found(taught: Overlay, store: Path) -> None:
    data = taught.records_file.read_bytes()
    taught.records_file.write_bytes(data.replace(b"mug", b"bug"))
    with pytest.raises(StoreDamagedError, match="taught.json is damaged"):
        Classifier.load(store).predict(pictures(RED, 1)[0])
    (problem,) = check(store)
    assert problem.what.startswith(f"{store / 'taught' / 'taught.json'} is damaged; restore it")
    assert problem.release is None
    (store / "taught").rename(store.with_name("away"))  # as it says
    assert check(store) == []
    assert Classifier.load(store).predict(pictures(RED, 1)[0]).label in labels(1)


def test_every_damaged_picture_that_was_taught_is_found(taught: Overlay, store: Path) -> None:
    for one in taught.records().present[1:3]:
        (store / "taught" / "pictures" / one.sha256).write_bytes(b"other")
    problems = check(store)
    assert len(problems) == 2
    assert all("a picture of 'mug', is damaged" in problem.what for problem in problems)
    Classifier.load(store).forget("mug")  # as it says
    assert check(store) == []


def test_what_has_no_say_in_a_store_is_not_looked_at(releases: Releases, store: Path) -> None:
    install(releases.bundle(1), store, test=passes, no_teach=True)
    (store / "taught").mkdir()
    (store / "taught" / "taught.json").write_bytes(b"{}")
    Classifier.load(store).predict(pictures(RED, 1)[0])
    assert check(store) == []


def test_what_is_taught_meanwhile_is_no_damage(
    taught: Overlay, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that was there when its name was read goes, and is in no list any more."""
    read = Overlay.picture
    forgotten: list[object] = []

    def forget_first(overlay: Overlay, one: object) -> bytes:
        if not forgotten:
            forgotten.append(one)
            with taught.changing() as records:
                taught._write(records.dropping(records.present), {})
        return read(overlay, one)  # type: ignore[arg-type]

    monkeypatch.setattr(Overlay, "picture", forget_first)
    assert check(store) == []
    assert len(forgotten) == 1


def test_each_file_of_a_release_is_read_once(
    releases: Releases, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install(releases.bundle(1), store, test=passes).release
    opened: list[str] = []
    real = Path.open

    def note(path: Path, *more: object, **named: object) -> object:
        opened.append(path.name)
        return real(path, *more, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", note)
    read_release(store, release)
    assert sorted(opened) == sorted(path.name for path in (store / "blobs").iterdir())
