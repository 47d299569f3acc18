"""A run finds its pictures again as they were when it learned them, as far as they are there."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data import ImageDataset, Split, load_dataset
from edgecil.errors import DataError
from edgecil.planning.data_facts import facts_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.run_data import RunData, load_source
from edgecil.training.settings import PlannedTask, RunSettings, Source
from tests.edgecil.training.tiny import picture_folder, tiny_dataset

LEARNED = ("colour-2", "colour-0")


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    """Of a run that learned two of the three classes of a folder, and later other data's."""
    folder = picture_folder(tiny_dataset(classes=3, train=4, test=2), tmp_path / "pictures")
    data = tiny_dataset()
    request = TrainRequest(data="tiny", budget="2MB", backbone="convnet2", codec="raw")
    resolved, _, _ = resolve(request, facts_of(data, ["raw"]))
    sources = (Source(str(folder), 0.2, ""), Source("glyphs", 0.2, ""))
    tasks = (PlannedTask(LEARNED, 0), PlannedTask(("A",), 1))
    return replace(resolved, sources=sources, tasks=tasks)


@pytest.mark.parametrize("pictures", [dict.fromkeys(LEARNED, 6), {}])
def test_classes_that_were_not_learned_from_a_source_are_not_read(
    settings: RunSettings, pictures: dict[str, int]
) -> None:
    """An older edgecil did not note which classes a source had."""
    source = replace(settings.sources[0], pictures=pictures)
    again = replace(settings, sources=(source, settings.sources[1]))
    shutil.copytree(Path(source.data) / "train/colour-0", Path(source.data) / "train/colour-3")
    found = load_source(again, source)
    assert found.classes == LEARNED
    assert found.others == ("colour-1", "colour-3")
    assert np.bincount(found.train.labels).tolist() == [4, 4]
    assert np.bincount(found.test.labels).tolist() == [2, 2]


def test_one_class_without_test_pictures_leaves_the_others_to_be_measured(
    settings: RunSettings,
) -> None:
    source = settings.sources[0]
    shutil.rmtree(Path(source.data) / "test/colour-2")
    library = RunData([load_source(settings, source), None], settings.tasks)
    assert library.test(2).labels.tolist() == [1, 1]
    assert list(map(len, library.training(1))) == [4, 4]


def test_where_a_test_folder_is_gone_nothing_that_was_learned_passes_for_test_pictures(
    settings: RunSettings,
) -> None:
    source = replace(settings.sources[0], pictures=dict.fromkeys(LEARNED, 6))
    again = replace(settings, sources=(source, settings.sources[1]))
    folder = Path(source.data)
    assert len(load_source(again, source).test) == 4
    for name in ("colour-0", "colour-1", "colour-2"):  # as a person who puts it in order
        shutil.move(folder / "train" / name, folder / name)
    shutil.rmtree(folder / "train")
    shutil.rmtree(folder / "test")
    with pytest.raises(DataError, match="had test pictures in a folder of their own"):
        load_source(again, source)


@pytest.fixture
def drawn(settings: RunSettings) -> tuple[RunSettings, Source]:
    """Of a run that learned a folder without a test folder, which keeps a third for the test."""
    folder = Path(settings.sources[0].data)
    for part in ("train", "test"):
        for name in LEARNED:
            for path in (folder / part / name).iterdir():
                (folder / name).mkdir(exist_ok=True)
                path.rename(folder / name / f"{part}-{path.name}")
        shutil.rmtree(folder / part)
    held_out = load_dataset(str(folder), image_size_px=16, holdout=1 / 3, seed=3).held_out
    pictures = dict.fromkeys(LEARNED, 6)
    source = replace(settings.sources[0], holdout=1 / 3, pictures=pictures, held_out=held_out)
    return replace(settings, sources=(source, settings.sources[1])), source


def files(split: Split) -> set[str]:
    assert isinstance(split.images, tuple)
    return {f"{path.parent.name}/{path.name}" for path in split.images}


def test_rewritten_pictures_are_not_tested_on(
    drawn: tuple[RunSettings, Source], caplog: pytest.LogCaptureFixture
) -> None:
    settings, source = drawn
    before = load_source(settings, source)
    assert np.bincount(before.test.labels).tolist() == [2, 2]
    for path in (Path(source.data) / "colour-0").iterdir():
        Image.open(path).save(path, "PNG", compress_level=0)
    after = load_source(settings, source)
    assert files(after.test) == {name for name in files(before.test) if "colour-2" in name}
    if len(after.train) < 10:  # else no learned one was drawn
        assert "test pictures left out (colour-0), for they were learned or may" in caplog.text


def test_of_a_test_folder_made_later_only_what_was_not_learned_is_tested_on(
    drawn: tuple[RunSettings, Source], caplog: pytest.LogCaptureFixture
) -> None:
    settings, source = drawn
    before, folder = load_source(settings, source), Path(source.data)
    assert not caplog.messages
    for name in LEARNED:
        for number, path in enumerate(sorted((folder / name).iterdir())):
            into = folder / ("train" if number < 2 else "test") / name
            into.mkdir(parents=True, exist_ok=True)
            path.rename(into / path.name)
        (folder / name).rmdir()
    after = load_source(settings, source)
    sorted_anew = load_dataset(str(folder), image_size_px=16)
    assert files(after.train) == files(sorted_anew.train)
    assert files(after.test) == files(sorted_anew.test) & files(before.test)
    count = len(files(sorted_anew.test) - files(before.test))
    assert f"{count} test pictures left out (colour-0, colour-2)" in caplog.text


def test_a_run_finds_what_was_unpacked_in_it_when_it_has_been_moved(
    settings: RunSettings, tmp_path: Path
) -> None:
    place = "taught-0123456789ab"
    source = replace(settings.sources[0], data=str(tmp_path / "before" / place))
    run = tmp_path / "run"
    (run / place).mkdir(parents=True)
    replace(settings, sources=(source, settings.sources[1])).save(run / "config.json")
    found = RunSettings.load(run / "config.json")
    assert [one.data for one in found.sources] == [str(run / place), "glyphs"]


def test_a_class_whose_training_pictures_are_gone_is_named_when_it_is_learned_again(
    settings: RunSettings,
) -> None:
    source = settings.sources[0]
    for path in (Path(source.data) / "train/colour-0").iterdir():
        path.unlink()
    library = RunData([load_source(settings, source), None], settings.tasks)
    assert library.test(1).labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="no picture of 'colour-0' to learn from; put it back"):
        library.training(1)


def mixed(classes: int) -> ImageDataset:
    """Pictures of a class each a shade of their own, in no order; one class has none to test on."""
    tiny, draw = tiny_dataset(classes=classes, train=5, test=3), np.random.default_rng(1)

    def shuffled(split: Split, kept: np.ndarray) -> Split:
        return split.subset(draw.permutation(np.flatnonzero(kept)))

    whole = np.ones(len(tiny.train), bool)
    train, test = shuffled(tiny.train, whole), shuffled(tiny.test, tiny.test.labels != 2)
    return replace(tiny, train=train, test=test)


def test_every_class_has_its_pictures_first_to_last_and_each_name_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, looked_at = mixed(classes=8), Counter[str]()

    def counted(name: str) -> str:
        looked_at[name] += 1
        return name

    monkeypatch.setattr("edgecil.training.run_data.composed", counted)
    tasks = [PlannedTask(("colour-5", "colour-2"), 0), PlannedTask(("colour-0", "other"), 0)]
    library = RunData([data], tasks)
    splits = library.training(1)
    for split, label in zip(splits, (5, 2), strict=True):
        by_hand = [n for n, found in enumerate(data.train.labels) if found == label]
        assert (split.pixels() == data.train.pixels()[by_hand]).all()
    with pytest.raises(DataError, match="no class 'other'"):
        library.training(2)
    assert [library.counts(stage) for stage in (1, 2)] == [(10, 3), (5, 3)]
    test = library.test(2)
    assert test.labels.tolist() == [0, 0, 0, 2, 2, 2]
    by_hand = [n for label in (5, 0) for n, one in enumerate(data.test.labels) if one == label]
    assert (test.pictures.pixels() == data.test.pixels()[by_hand]).all()
    learned = {name for task in tasks for name in task.classes}
    assert all(looked_at[name] == 1 for name in set(data.classes) - learned)
