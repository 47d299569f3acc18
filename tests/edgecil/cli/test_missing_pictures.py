"""A run whose old pictures are gone, or lie elsewhere: it goes on and says what it measured."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgecil.data import load_dataset, located
from edgecil.memory.state import State
from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from tests.edgecil.cli.desk import Desk, strictly


def right_of(desk: Desk, places: dict[str, str]) -> float:
    """Percent right of the test pictures of classes, by their folders, with the state's network."""
    state = State.read(desk.folder / "run/state")
    right = total = 0
    for class_name, place in places.items():
        data = load_dataset(str(desk.folder / place), image_size_px=16, seed=1993)
        split = data.test.subset(np.flatnonzero(data.test.labels == data.classes.index(class_name)))
        pixels = torch.from_numpy(split.pixels()).permute(0, 3, 1, 2)
        found = state.network()(pixels).argmax(1).tolist()
        right += found.count(state.settings.classes.index(class_name))
        total += len(split)
    return 100 * right / total


def test_without_the_old_pictures_it_is_said_what_the_accuracy_covers(trained: Desk) -> None:
    (trained.folder / "old").rename(trained.folder / "away")
    out, told = trained.learn("--data", "new")
    expected = right_of(trained, {"eel": "new", "fox": "new"})
    words = f"{expected:.2f} % over 2 of 6 classes"
    assert f"accuracy {words}" in told
    assert out.splitlines()[3].split()[:3] == ["3", "6", "-"]
    assert out.splitlines()[4] == f"task 3: accuracy {words}"
    assert out.splitlines()[5] == "average incremental accuracy -, last accuracy -"

    last = trained.strictly("results.json")["stages"][-1]
    assert (last["classes"], last["measured_classes"]) == (6, 2)
    assert last["accuracy"] == pytest.approx(expected)
    assert last["accuracy_by_task"] == [None, None, pytest.approx(expected)]
    assert trained.strictly("results.json")["average_accuracy"] is None
    assert trained.strictly("results.json")["last_accuracy"] is None
    assert "nan" not in (trained.folder / "run/metrics.csv").read_text().lower()
    out, _ = trained.run("info", "run")
    assert f"task 3: 6 classes, accuracy {words}" in out
    assert strictly(trained.run("info", "run", "--json")[0])["stages"][-1] == last

    bundle = trained.folder / "x.edgecil"
    trained.run("export", "run", "--out", bundle)
    accuracy = Classifier.load(bundle).manifest.accuracy
    assert accuracy is not None
    assert accuracy.overall == pytest.approx(expected)
    assert (accuracy.by_task, accuracy.classes) == ((), 2)
    assert strictly(read_bundle(bundle).manifest_json.decode())["accuracy"] == {
        "overall": pytest.approx(expected),
        "classes": 2,
        "by_task": [],
    }
    assert f"accuracy: {words}, measured by the run" in trained.run("info", bundle)[0]
    out, _ = trained.run("eval", bundle, "--data", "away", "--data", "new")
    assert f"the run measured {words} before export" in out


def test_without_the_folder_of_one_old_class_the_others_are_measured(trained: Desk) -> None:
    shutil.rmtree(trained.folder / "old/ant")
    _, told = trained.learn("--data", "new")
    assert f"not measured, without test pictures in {trained.folder / 'old'}: ant" in told
    places = dict.fromkeys(("bee", "cat", "dog"), "old") | dict.fromkeys(("eel", "fox"), "new")
    expected = right_of(trained, places)
    assert f"accuracy {expected:.2f} % over 5 of 6 classes" in told
    results = trained.strictly("results.json")
    names = [task["classes"] for task in trained.strictly("config.json")["tasks"]]
    by_task = [
        None if "ant" in task else pytest.approx(right_of(trained, {n: places[n] for n in task}))
        for task in names
    ]
    assert results["stages"][-1]["accuracy_by_task"] == by_task
    assert by_task.count(None) == 1
    trained.run("export", "run", "--out", "x.edgecil")
    accuracy = Classifier.load(trained.folder / "x.edgecil").manifest.accuracy
    assert accuracy is not None
    assert accuracy.overall == pytest.approx(expected)
    assert (accuracy.by_task, accuracy.classes) == ((), 5)


def test_without_any_pictures_what_a_crash_left_unmeasured_stays_so(trained: Desk) -> None:
    """The state has two tasks, the results were lost, and so were the pictures."""
    shutil.rmtree(trained.folder / "old")
    (trained.folder / "run/results.json").unlink()
    trained.learn("--data", "new")
    stages = trained.strictly("results.json")["stages"]
    assert [stage["stage"] for stage in stages] == [2, 3]
    assert stages[0]["accuracy"] is None
    assert stages[0]["measured_classes"] == 0
    assert "task 2: 4 classes, accuracy not measured" in trained.run("info", "run")[0]
    assert trained.learn("--data", "new")[0].splitlines()[1].split()[:3] == ["2", "4", "-"]
    assert len(trained.strictly("results.json")["stages"]) == 2


def test_a_method_that_needs_all_pictures_says_which_to_put_back(desk: Desk) -> None:
    desk.photos("old", "ant", "bee", "cat", "dog")
    desk.photos("new", "eel", "fox")
    desk.train("--method", "joint")
    before = desk.strictly("config.json")
    (desk.folder / "old/bee").rename(desk.folder / "bee")
    _, told = desk.learn("--data", "new", code=1)
    assert "the data have no class 'bee'; put its folder back" in told
    assert desk.strictly("config.json") == before
    (desk.folder / "bee").rename(desk.folder / "old/bee")
    desk.learn("--data", "new")


def test_data_are_the_same_however_their_folder_is_written(trained: Desk) -> None:
    (trained.folder / "beside").mkdir()
    for spelling in ("old/", "./old", "new/../old", trained.folder / "old"):
        trained.train("--resume", data=spelling)
    trained.train("--resume", data="../old", at=trained.folder / "beside")
    (trained.folder / "old").rename(trained.folder / "moved")
    trained.train("--resume", data="moved")
    kept = trained.strictly("config.json")["sources"][0]["data"]
    assert kept == str(trained.folder / "moved")
    # From wherever `learn` is called it finds the old pictures again.
    trained.learn("--data", "../new", at=trained.folder / "beside")
    assert trained.strictly("results.json")["stages"][-1]["measured_classes"] == 6


def test_built_in_data_keep_their_names_and_a_folder_of_that_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("glyphs") == "glyphs"
    assert located("./glyphs") == str(tmp_path / "glyphs")


def test_what_changed_in_the_data_is_told_in_words(trained: Desk) -> None:
    (trained.folder / "old/ant/3.png").unlink()
    shutil.rmtree(trained.folder / "old/bee")
    trained.photos("old", "emu")
    _, told = trained.train("--resume", code=1)
    assert (
        "other pictures (the data have changed: class 'bee' is missing, class 'ant' has 9 pictures "
        "instead of 10, class 'emu' is new" in told
    )
    assert not re.search("[0-9a-f]{16}", told)


def test_an_edited_picture_is_a_change_and_another_seed_is_none(trained: Desk) -> None:
    _, told = trained.train("--resume", "--seed", 7, code=1)
    assert "other settings (seed: 1993 -> 7" in told
    assert "the data have changed" not in told
    Image.new("RGB", (16, 16)).save(trained.folder / "old/cat/0.png")
    _, told = trained.train("--resume", code=1)
    assert "(the data have changed: some pictures are others than they were, as many" in told


def test_other_tasks_are_told_by_their_sizes(trained: Desk) -> None:
    _, told = trained.train("--resume", "--increment", 1, code=1)
    assert re.search(r"tasks: 2\+2 classes from .* on -> 1\+1\+1\+1 classes from", told)


def test_a_run_of_an_older_edgecil_goes_on_without_counts_and_with_a_relative_path(
    trained: Desk,
) -> None:
    config = trained.folder / "run/config.json"
    text = re.sub(r',\s*"pictures": \{[^}]*\}', "", config.read_text())
    config.write_text(text.replace(str(trained.folder / "old"), "old"))
    assert "pictures" not in strictly(config.read_text())["sources"][0]
    shutil.rmtree(trained.folder / "old/ant")
    _, told = trained.train("--resume", code=1)
    assert "the data have changed: class 'ant' is missing" in told
    trained.photos("old", "ant")
    trained.train("--resume")
    assert trained.strictly("config.json")["sources"][0]["data"] == str(trained.folder / "old")
