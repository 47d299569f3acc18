"""A run finds its pictures again as they were when it learned them, as far as they are there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
