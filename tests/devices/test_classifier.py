"""The door that programs use: pictures in, labels out."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import FrozenInstanceError
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edgecil_devices
from edgecil_devices import Classifier, ImageError, Prediction, UsageError
from edgecil_devices.images import ImageSource

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def classifier(bundle_path: Path) -> Classifier:
    return Classifier.load(bundle_path)


def test_the_best_class_and_its_probability(
    tiny: "TinyNetwork", classifier: Classifier, picture: NDArray[np.uint8]
) -> None:
    logits = tiny.logits(picture[None])[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    prediction = classifier.predict(picture, top=3)
    best_first = sorted(zip(expected, tiny.classes, strict=True), reverse=True)
    assert [candidate.label for candidate in prediction.top] == [name for _, name in best_first]
    assert [candidate.score for candidate in prediction.top] == pytest.approx(
        [score for score, _ in best_first], rel=1e-4
    )
    assert (prediction.label, prediction.score) == prediction.top[0]


def test_another_process_is_told_to_load_its_own(
    classifier: Classifier, picture: NDArray[np.uint8]
) -> None:
    remedy = r"cannot be pickled.*the bundle's path, and call Classifier\.load\(path\) there"
    with pytest.raises(TypeError, match=remedy):
        pickle.dumps(classifier)
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as others,
        pytest.raises(TypeError, match=remedy),
    ):
        others.submit(classifier.predict, picture).result(30)


def test_classes_and_tasks_are_named_in_order(classifier: Classifier) -> None:
    assert classifier.classes == ("ape", "bee", "cat")
    assert classifier.tasks == (("ape", "bee"), ("cat",))


def test_paths_bytes_pillow_images_and_arrays_give_the_same(
    classifier: Classifier, picture: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    sources: list[ImageSource] = [
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(picture),
        picture,
    ]
    assert len({classifier.predict(source).top for source in sources}) == 1


def test_a_list_is_read_one_picture_at_a_time(
    classifier: Classifier, picture: NDArray[np.uint8]
) -> None:
    predictions = classifier.predict([picture, "missing.jpg"])
    assert isinstance(next(predictions), Prediction)
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        next(predictions)
    assert [p.label for p in classifier.predict(iter([picture, picture]))] == [
        classifier.predict(picture).label
    ] * 2


def test_top_is_bounded_by_the_classes_and_at_least_one(
    classifier: Classifier, picture: NDArray[np.uint8]
) -> None:
    assert len(classifier.predict(picture, top=99).top) == 3
    assert len(classifier.predict(picture, top=1).top) == 1
    for source in (picture, [picture]):
        with pytest.raises(UsageError, match="at least 1, not 0"):
            classifier.predict(source, top=0)


def test_a_prediction_does_not_change(classifier: Classifier, picture: NDArray[np.uint8]) -> None:
    prediction = classifier.predict(picture)
    with pytest.raises(FrozenInstanceError):
        prediction.label = "dog"  # type: ignore[misc]


def test_the_times_are_those_of_the_parts(
    classifier: Classifier, picture: NDArray[np.uint8]
) -> None:
    timing = classifier.predict(picture).timing_ms
    parts = (timing.preprocess, timing.trunk, timing.blocks, timing.head)
    assert min(parts) > 0
    assert timing.total == pytest.approx(sum(parts))


def test_probabilities_survive_large_logits(tiny: "TinyNetwork", tmp_path: Path) -> None:
    tiny.head[:, -1] = (1e4, 0, -1e4)
    classifier = Classifier.load(tiny.save(tmp_path / "x.edgecil"))
    scores = classifier.predict(np.zeros((8, 8, 3), np.uint8), top=3).top
    assert scores == (("ape", 1.0), ("bee", 0.0), ("cat", 0.0))


def test_every_public_name_is_there_and_none_is_missing_from_the_list() -> None:
    assert edgecil_devices.__all__ == sorted(edgecil_devices.__all__)
    for name in edgecil_devices.__all__:
        assert getattr(edgecil_devices, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Classifer'"):
        edgecil_devices.Classifer  # noqa: B018
