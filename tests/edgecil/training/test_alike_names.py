"""A class whose name is written with one character or with two is the same class everywhere."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecil.cli.evaluate import _known_images, _require_pictures
from edgecil.data import ImageDataset, read_tasks
from edgecil.errors import DataError
from edgecil.planning.data_facts import facts_of
from edgecil.training.growth import NewTask, with_new_task
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.run_data import RunData
from edgecil.training.settings import PlannedTask
from tests.edgecil.training.tiny import tiny_dataset

ONE, TWO = "caf\u00e9", "cafe\u0301"


def dataset(*classes: str) -> ImageDataset:
    return replace(tiny_dataset(classes=len(classes)), classes=classes)


def test_in_the_file_of_tasks(tmp_path: Path) -> None:
    path = tmp_path / "tasks.toml"
    path.write_text(f'[[task]]\nclasses = ["{TWO}"]\n', encoding="utf-8")
    assert read_tasks(path, ("bar", ONE)).class_order == (1,)
    path.write_text(f'[[task]]\nclasses = ["{ONE}", "{TWO}"]\n', encoding="utf-8")
    with pytest.raises(DataError, match="a class is learned once"):
        read_tasks(path, ("bar", ONE))


@pytest.mark.parametrize(("known", "again"), [(ONE, TWO), (TWO, ONE)])
def test_when_new_classes_are_learned(known: str, again: str) -> None:
    request = TrainRequest(data="tiny", budget="400kB", backbone="convnet2", codec="raw")
    settings, _, _ = resolve(request, facts_of(dataset("bar", known), ["raw"]))
    with pytest.raises(DataError, match="knows of more already: "):
        with_new_task(settings, NewTask("more", 0.2, facts_of(dataset(again), [settings.codec])))


def test_when_the_pictures_of_a_run_are_found_again() -> None:
    found = dataset("bar", ONE)
    library = RunData([found], [PlannedTask((TWO,), 0)])
    (split,) = library.training(1)
    assert (split.pixels() == found.train.pixels(np.flatnonzero(found.train.labels == 1))).all()


def test_when_a_bundle_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    classifier: Any = SimpleNamespace(classes=(TWO, "bar"))
    data = dataset("bar", "foo", ONE)
    _require_pictures(classifier, [data])
    assert capsys.readouterr().err == "left out: 1 classes that the bundle has not learned\n"
    indices, labels = _known_images(classifier, data)
    assert set(data.test.labels[indices]) == {0, 2}
    assert (labels == np.where(data.test.labels[indices] == 0, 1, 0)).all()
