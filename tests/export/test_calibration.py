"""On what computing in eight bits is calibrated: exemplars, or what the run was trained on."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgecil.errors import ExportError
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil_devices.closed_form import ClassStatistics
from edgecil_export.calibration import calibration, exemplars_of_blocks
from edgecil_export.opened_run import OpenedRun
from tests.export.test_accuracy_loss import CLASSES, settings_with


def state_with(run: Path, exemplars: ExemplarSet, counts: Sequence[int]) -> State:
    """A state with so many exemplars of each of five classes, in tasks of three and two."""
    payloads = tuple(
        (of_class * 50)[:n] for of_class, n in zip(exemplars.payloads, counts, strict=True)
    )
    return replace(State.read(run / "state"), exemplars=replace(exemplars, payloads=payloads))


def test_a_block_is_calibrated_on_the_classes_of_its_time(
    run: Path, exemplars: ExemplarSet
) -> None:
    state = state_with(run, exemplars, [4] * 5)
    first, second = exemplars_of_blocks(state)
    assert first.tolist() == [0, 2, 4, 6, 8, 10]
    assert second.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


def test_a_block_is_calibrated_on_the_same_pictures_when_later_tasks_take_their_place(
    run: Path, exemplars: ExemplarSet
) -> None:
    before, after = (
        state_with(run, exemplars, counts) for counts in ([100] * 5, [44, 50, 60, 70, 9])
    )
    before_pixels, after_pixels = (
        state.exemplars.pixels(exemplars_of_blocks(state)[0]) for state in (before, after)
    )
    assert len(before_pixels) == 3 * 22  # at least 64 pictures
    np.testing.assert_array_equal(before_pixels, after_pixels)


def test_many_classes_are_represented_by_some_of_them(run: Path, exemplars: ExemplarSet) -> None:
    state = state_with(run, exemplars, [9] * 5)
    many = replace(
        state,
        settings=replace(
            state.settings,
            classes=tuple(map(str, range(1000))),
            task_sizes=(1000,),
            block_count=1,
        ),
        exemplars=replace(state.exemplars, payloads=state.exemplars.payloads * 200),
    )
    (chosen,) = exemplars_of_blocks(many)
    classes = many.exemplars.labels()[chosen]
    assert len(chosen) == 128 * 4
    assert (classes[0], classes[-1], len(set(classes))) == (0, 999, 128)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folders of twelve pictures each; class and number are their colour. Half are for tests."""
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (16, 16), (label, number, 7)).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


def opened_without_exemplars(run: Path, data: Path) -> OpenedRun:
    settings_with(str(data)).save(run / "config.json")
    opened = OpenedRun.read(run)
    none = ExemplarSet.empty(opened.state.exemplars.codec, 16).with_new_classes([()] * 5)
    return replace(opened, state=replace(opened.state, exemplars=none))


def colours(pixels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Class and number of each picture."""
    return [(int(one[0, 0, 0]), int(one[0, 0, 1])) for one in pixels]


def test_exemplars_are_calibrated_on_where_there_are_any(run: Path, photos: Path) -> None:
    settings_with(str(photos)).save(run / "config.json")
    opened = OpenedRun.read(run)
    found, chosen = calibration(opened, None), exemplars_of_blocks(opened.state)
    assert found.exemplars.tolist() == [*chosen[0], *chosen[1]]
    for pixels, some in zip(found.pixels, chosen, strict=True):
        np.testing.assert_array_equal(pixels, opened.state.exemplars.pixels(some))


def test_without_any_it_is_what_the_run_was_trained_on(run: Path, photos: Path) -> None:
    opened = opened_without_exemplars(run, photos)
    found = calibration(opened, None)
    assert len(found.exemplars) == 0
    tested = set(colours(opened.data(None).test(2).pictures.pixels()))
    assert len(tested) == 30
    for pixels, classes in zip(found.pixels, (3, 5), strict=True):
        seen = colours(pixels)
        assert [label for label, _ in seen] == [c for c in range(classes) for _ in range(6)]
        assert len({*seen}) == len(seen)
        assert not tested & {*seen}


def test_a_frozen_network_is_calibrated_on_the_first_task_whatever_comes_later(
    run: Path, photos: Path
) -> None:
    """Of what keeps statistics there is one block, which no later task changes."""
    opened = opened_without_exemplars(run, photos)
    features = ClassStatistics(np.zeros((5, 64)), np.ones(5, np.int64), np.eye(64))
    settings = replace(opened.state.settings, method="slda", block_count=1)
    state = State.of(
        settings, settings.empty_network(), opened.state.exemplars, statistics=features
    )
    (pixels,) = calibration(replace(opened, state=state), None).pixels
    assert {label for label, _ in colours(pixels)} == {0, 1, 2}
    # Nor does it matter if the pictures of later tasks are gone.
    shutil.rmtree(photos / "eel")
    (again,) = calibration(replace(opened, state=state), None).pixels
    np.testing.assert_array_equal(again, pixels)


def test_where_there_are_no_pictures_it_says_what_to_do(run: Path, photos: Path) -> None:
    opened = opened_without_exemplars(run, photos)
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(ExportError, match=r"put them back \(or give --data-dir\), or export with"):
        calibration(opened, None)
    (run / "config.json").unlink()
    with pytest.raises(ExportError, match=r"put them back \(or give --data-dir\), or export with"):
        calibration(replace(opened, settings=None), None)
