"""A store that was made with --no-teach: its releases alone answer."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgecil_devices import Classifier, UsageError
from edgecil_devices.__main__ import main
from edgecil_devices.errors import StoreDamagedError
from edgecil_devices.following import Following
from edgecil_devices.prediction import Prediction
from edgecil_devices.store.install import install
from edgecil_devices.store.records import StoreState
from tests.devices.store.releases import passes
from tests.devices.teaching.colours import RED, files, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

WHY = "was made with --no-teach, so its releases alone answer; teach beside a bundle's file, or"


@pytest.fixture
def bundle_path(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    return save_teachable(tiny, tmp_path / "tiny.edgecil")


@pytest.fixture
def store(bundle_path: Path, tmp_path: Path) -> Path:
    install(bundle_path, tmp_path / "store", test=passes, no_teach=True)
    return tmp_path / "store"


@pytest.fixture
def teaching(bundle_path: Path, tmp_path: Path) -> Path:
    """A store of the same release that can be taught, and was."""
    install(bundle_path, tmp_path / "teaching", test=passes)
    Classifier.load(tmp_path / "teaching").teach("mug", pictures(RED, 10))
    return tmp_path / "teaching"


@pytest.fixture
def copied_into(store: Path, teaching: Path) -> Path:
    """The store, with what was taught in the other one copied in by hand."""
    shutil.copytree(teaching / "taught", store / "taught")
    return store


def told(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> tuple[str, str]:
    assert main(list(map(str, words))) == code
    return capsys.readouterr()


def test_neither_a_new_class_nor_a_correction_can_be_taught(store: Path) -> None:
    classifier = Classifier.load(store)
    with pytest.raises(UsageError, match=WHY):
        classifier.teach("mug", pictures(RED, 5))
    with pytest.raises(UsageError, match=WHY):
        classifier.correct(pictures(RED, 5), classifier.classes[0])
    assert not (store / "taught").exists()


def test_a_page_that_could_not_teach_is_not_served(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = told(capsys, "serve", store, "--teach", "--port", "0", code=2)
    assert error.startswith(f"error: {store} {WHY}")


def test_the_verb_says_why_before_it_looks_at_a_picture(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = told(capsys, "teach", store, "nowhere.jpg", "--label", "mug", code=2)
    assert error.startswith(f"error: {store} {WHY}")
    assert error.count("\n") == 1


def test_what_was_copied_in_has_no_say(copied_into: Path, teaching: Path) -> None:
    picture = pictures(RED, 1, 9)
    assert Classifier.load(teaching).predict(picture[0]).label == "mug"
    for classifier in (Classifier.load(copied_into), Following(copied_into).classifier()):
        one, (other,) = classifier.predict(picture[0], top=9), classifier.predict_batch(picture)
        assert isinstance(other, Prediction)
        for answer in (one, other):
            assert {found.label for found in answer.top} == set(classifier.classes)


def test_a_classifier_that_runs_when_it_is_copied_in_gives_it_no_say(
    store: Path, teaching: Path
) -> None:
    classifier = Classifier.load(store)
    before = classifier.predict(pictures(RED, 1, 9)[0])
    shutil.copytree(teaching / "taught", store / "taught")
    assert classifier.predict(pictures(RED, 1, 9)[0]).top == before.top


def test_the_state_is_read_once_and_only_where_something_is_taught(
    teaching: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = StoreState.read

    def counted(path: Path) -> StoreState:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(StoreState, "read", counted)
    for path in (store, teaching):
        classifier = Classifier.load(path)
        for picture in pictures(RED, 3):
            classifier.predict(picture)
    assert reads == [teaching / "state.json"]


def test_a_damaged_state_leaves_the_release_to_answer_alone(teaching: Path) -> None:
    state = (teaching / "state.json").read_bytes()
    (teaching / "state.json").write_bytes(state.replace(b'"floor":1', b'"floor":2'))
    classifier = Classifier.load(teaching)
    assert not classifier.predict(pictures(RED, 1, 9)[0]).taught
    with pytest.raises(StoreDamagedError, match="state.json is damaged"):
        classifier.teach("mug", pictures(RED, 1))
    (teaching / "state.json").write_bytes(state)
    assert classifier.predict(pictures(RED, 1, 9)[0]).taught


def test_what_was_copied_in_can_be_looked_at_carried_away_and_forgotten(
    copied_into: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, warning = told(capsys, "taught", "list", copied_into)
    assert said.startswith("mug  new           10 pictures")
    assert warning == (
        "warning: the store was made with --no-teach; none of this has a say in its answers\n"
    )
    out = tmp_path / "taught.zip"
    assert told(capsys, "taught", "export", copied_into, "--out", out)[0].startswith(f"wrote {out}")
    said, _ = told(capsys, "taught", "forget", copied_into, "--label", "mug")
    assert said.startswith("forgot 'mug', 10 pictures")
    said, _ = told(capsys, "taught", "list", copied_into)
    assert said == "nothing is taught here; the store was made with --no-teach\n"


def test_status_says_whether_a_store_can_be_taught(
    store: Path, teaching: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, says in ((store, "no, it was made with --no-teach"), (teaching, "yes")):
        assert f"can be taught: {says}" in told(capsys, "status", "--store", path)[0].splitlines()
        status = json.loads(told(capsys, "status", "--store", path, "--json")[0])
        assert status["teaching"] is (path == teaching)


def test_a_bundle_beside_such_a_store_can_be_taught(
    store: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mugs = files(tmp_path / "mugs", RED, 5)
    said, _ = told(capsys, "teach", bundle_path, *mugs, "--label", "mug")
    assert said == "taught 'mug': 5 pictures, 5 now\n"
    assert not Classifier.load(store).predict(pictures(RED, 1, 9)[0]).taught
