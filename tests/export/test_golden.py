"""Golden samples: few, small, and the same after every later task."""

import io
from dataclasses import replace

import numpy as np
import pytest

from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil_export.golden import golden_pixels, npy
from tests.export.conftest import SETTINGS, pictures


def state(network: ExpandableNetwork, exemplars: ExemplarSet) -> State:
    return State.of(SETTINGS, network, exemplars)


def test_they_are_the_first_exemplars_of_the_first_tasks_classes(
    network: ExpandableNetwork, exemplars: ExemplarSet
) -> None:
    found = golden_pixels(state(network, exemplars))
    assert np.array_equal(found, pictures()[[0, 4, 8]])


def test_without_exemplars_they_are_the_same_noise_each_time(network: ExpandableNetwork) -> None:
    codec = codec_named("raw")
    empty = ExemplarSet.empty(codec, 16).with_new_classes([[]] * 5)
    found = golden_pixels(state(network, empty))
    assert found.shape == (4, 16, 16, 3)
    assert found.dtype == np.uint8
    assert len(np.unique(found)) > 200
    assert np.array_equal(found, golden_pixels(state(network, empty)))


@pytest.mark.parametrize(("size", "count"), [(16, 4), (64, 4), (128, 2), (224, 1), (1024, 1)])
def test_large_pictures_are_fewer(network: ExpandableNetwork, size: int, count: int) -> None:
    codec = codec_named("raw")
    empty = ExemplarSet.empty(codec, size).with_new_classes([[]] * 5)
    settings = replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, image_size_px=size))
    found = golden_pixels(State.of(settings, network, empty))
    assert found.shape == (count, size, size, 3)


def test_an_array_file_is_one_that_numpy_reads_without_pickles() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(np.load(io.BytesIO(npy(array)), allow_pickle=False), array)
