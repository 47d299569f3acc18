"""What `fsck` finds in a store, and that what it says puts it right."""

from pathlib import Path

import pytest

from edgecil_devices import Classifier
from edgecil_devices.errors import ReleaseError, StoreDamagedError, StoreError
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.update import update, update_from
from edgecil_devices.teaching.overlay import Overlay
from tests.devices.store.releases import Releases, fails, labels, passes
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
    with pytest.raises(StoreError, match="is empty"):
        read_current(store)
    (problem,) = check(store)
    where = f"{store / 'current'} is missing; "
    assert problem.what == where + "the next install or update puts it right"
    assert problem.release == 2
    if remedy == "install":
        install(releases.bundle(2), store, test=fails)
    else:
        (releases.folder / "latest").write_text("2")
        assert update_from(str(releases.folder), store, fails) is None
    assert read_current(store).bundle.manifest.classes == labels(2)
    assert check(store) == []


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
