"""`edgecil learn RUN --data taught.zip`: given again, stopped, refused and given up."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from edgecil.networks.sources import sha256_of
from edgecil.training.run import Run
from edgecil.training.stopping import EXIT_STOPPED, Stopped
from tests.edgecil.cli.desk import Desk
from tests.edgecil.cli.test_learn import stop_after_epochs


@pytest.fixture
def taught(trained: Desk) -> Path:
    """A zip file of two new classes, and of pictures of one that the run knows."""
    trained.photos("new", "ant")
    with zipfile.ZipFile(trained.folder / "taught.zip", "w") as archive:
        for path in sorted((trained.folder / "new").rglob("*.png")):
            archive.write(path, path.relative_to(trained.folder / "new"))
    return trained.folder / "taught.zip"


def unpacked(desk: Desk) -> list[Path]:
    """What lies unpacked in the run, half unpacked pictures included."""
    return [path for path in (desk.folder / "run").iterdir() if "taught" in path.name]


def classes(desk: Desk) -> list[int]:
    return [stage["classes"] for stage in desk.strictly("results.json")["stages"]]


@pytest.mark.parametrize("is_left", [True, False], ids=["as it was", "its folder deleted"])
def test_what_a_device_was_taught_may_be_given_again(
    trained: Desk, taught: Path, is_left: bool
) -> None:
    first, told = trained.learn("--data", taught)
    assert "left out: 10 pictures of 'ant', which the run knows" in told
    files = trained.state(), trained.strictly("config.json"), unpacked(trained)
    if not is_left:
        shutil.rmtree(unpacked(trained)[0])
    again, told = trained.learn("--data", taught)
    assert again == first
    assert "left out: 10 pictures of 'ant', which the run knows" in told
    assert (trained.state(), trained.strictly("config.json"), unpacked(trained)) == files


def test_a_stop_between_the_state_and_its_measurement_is_made_up_for(
    trained: Desk, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped("stopped by SIGTERM", 143)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record_confusion", stopped)
        trained.learn("--data", taught, code=143)
    assert classes(trained) == [2, 4]
    trained.learn("--data", taught)
    assert classes(trained) == [2, 4, 6]


def test_what_was_refused_or_never_begun_is_not_left_unpacked(
    trained: Desk, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped("stopped by --stop-after", EXIT_STOPPED)

    before = trained.strictly("config.json")
    _, told = trained.learn("--data", taught, "--budget", "1kB", code=1)
    assert "cannot hold" in told
    assert unpacked(trained) == []
    with monkeypatch.context() as patch:
        patch.setattr("edgecil.cli.progress.TerminalReporter.task_started", stopped)
        trained.learn("--data", taught, code=EXIT_STOPPED)
    assert unpacked(trained) == []
    assert trained.strictly("config.json") == before


def test_what_was_given_up_is_not_left_unpacked(
    trained: Desk, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_epochs(monkeypatch, 1)
    trained.learn("--data", taught, code=EXIT_STOPPED)
    assert len(unpacked(trained)) == 1
    stop_after_epochs(monkeypatch, 0)
    trained.learn("--discard")
    assert unpacked(trained) == []


def test_a_folder_left_from_before_is_not_used(trained: Desk, taught: Path) -> None:
    stale = trained.photos(f"run/taught-{sha256_of(taught)[:12]}", "bee", "eel")
    trained.learn("--data", taught)
    assert unpacked(trained) == [stale]
    assert sorted(path.name for path in stale.iterdir()) == ["eel", "fox"]
    assert Run(trained.folder / "run").settings().tasks[-1].classes == ("eel", "fox")


def test_a_folder_that_a_person_names_stays_whatever_becomes_of_it(trained: Desk) -> None:
    named = trained.photos("run/taught-0123456789ab", "gnu", "hen")
    trained.learn("--data", ".", "--budget", "1kB", code=1, at=named)
    assert len(list(named.rglob("*.png"))) == 20


def test_one_taught_class_with_a_single_picture_does_not_keep_the_others_from_being_learned(
    trained: Desk, taught: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(taught, "a") as archive:
        archive.write(trained.photos("more", "gnu") / "gnu/0.png", "gnu/0.png")
    trained.learn("--data", taught)
    assert "taught.zip: left out: class 'gnu'" in caplog.text
    assert classes(trained) == [2, 4, 6]
    trained.run("export", "run", "--out", "x.edgecil")
    words = ("eval", "x.edgecil", "--data", "taught.zip", "--data", "old", "--json")
    out, told = trained.run(*words)
    found = json.loads(out)
    assert (found["images"], found["learned_images"]) == (6 * 2, 0)  # a fifth of ten of each
    assert "left out: 10 pictures of 'ant' in taught.zip, corrections" in told


def test_where_no_taught_class_has_two_pictures_the_file_is_named(
    trained: Desk, taught: Path
) -> None:
    with zipfile.ZipFile(taught, "w") as archive:
        archive.write(trained.folder / "new/eel/0.png", "eel/0.png")
    _, told = trained.learn("--data", taught, code=1)
    assert f"{taught}: learning takes two usable pictures of a class or more" in told
    assert unpacked(trained) == []
