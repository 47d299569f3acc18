"""Pictures that a run has learned and that come again as another class are left out and told."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data import ImageDataset, load_folder
from edgecil.errors import DataError
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.training.known_pictures import old_without_repeats, without_known
from edgecil_devices.images import Preprocessing

SIZE_PX = 16


def photos(folder: Path, seed: int, count: int = 10) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        draw = np.random.default_rng(1000 * seed + number)
        pixels = draw.integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def loaded(folder: Path, without: Collection[str] = ()) -> ImageDataset:
    return load_folder(folder, image_size_px=SIZE_PX, without=without)[0]


def known_left_out(
    new: ImageDataset, old: Sequence[ImageDataset | None], state: State
) -> tuple[ImageDataset, list[str]]:
    return without_known(new, old, state, lambda known: loaded(Path(new.name), known))


def state_of(classes: tuple[str, ...], codec: str = "raw", **exemplars: np.ndarray) -> State:
    """What a run that has learned `classes` keeps, but for weights; pixels by class."""
    settings = StateSettings(
        method="memo",
        backbone="convnet2",
        cut="last",
        precision="fp32",
        codec=codec,
        preprocessing=Preprocessing(SIZE_PX),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        block_count=1,
        classes=classes,
        task_sizes=(len(classes),),
    )
    encoder = codec_named(codec)
    payloads = [
        encoder.encode_many(exemplars[name]) if name in exemplars else [] for name in classes
    ]
    kept = ExemplarSet.empty(encoder, SIZE_PX).with_new_classes(payloads)
    return State(settings, {}, kept)


def files(dataset: ImageDataset) -> set[str]:
    splits = (dataset.train.images, dataset.test.images)
    return {f"{path.parent.name}/{path.name}" for images in splits for path in images}


@pytest.fixture
def old(tmp_path: Path) -> ImageDataset:
    photos(tmp_path / "old" / "cat", 1)
    photos(tmp_path / "old" / "dog", 2)
    return loaded(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    photos(tmp_path / "new" / "lion", 3)
    photos(tmp_path / "new" / "wolf", 4)
    return tmp_path / "new"


def again(old: ImageDataset, source: str, target: Path) -> None:
    shutil.copy(Path(old.name) / source, target)


def test_new_pictures_alone_are_all_learned(old: ImageDataset, new: Path) -> None:
    dataset = loaded(new)
    assert known_left_out(dataset, [old], state_of(("cat", "dog"))) == (dataset, [])


def test_picture_of_an_old_class_is_left_out_of_the_new_one_and_told(
    old: ImageDataset, new: Path
) -> None:
    for number in range(5):  # some of them for the test, there or here
        again(old, f"cat/{number}.png", new / "lion" / f"again-{number}.png")
    again(old, "dog/7.png", new / "wolf" / "husky.png")
    before = loaded(new)
    rid, lines = known_left_out(before, [old], state_of(("cat", "dog")))
    assert files(before) - files(rid) == {f"lion/again-{n}.png" for n in range(5)} | {
        "wolf/husky.png"
    }
    assert files(rid) == {f"{name}/{n}.png" for name in ("lion", "wolf") for n in range(10)}
    labels = [rid.classes[label] for label in rid.train.labels]
    assert [path.parent.name for path in rid.train.images] == labels
    assert rid.fingerprint != before.fingerprint
    assert lines[0].startswith(f"{new}: 6 pictures that the run has learned as another class")
    assert lines[6] == f"  {new}/wolf/husky.png: comes as wolf, learned as dog"


def test_pictures_that_the_old_folder_has_but_the_run_never_learned_are_new(
    old: ImageDataset, new: Path
) -> None:
    again(old, "dog/1.png", new / "wolf" / "dog.png")
    dataset = loaded(new)
    assert known_left_out(dataset, [old], state_of(("cat",))) == (dataset, [])


def test_picture_that_comes_again_as_what_it_is_stays(old: ImageDataset) -> None:
    assert known_left_out(old, [old], state_of(("cat", "dog"))) == (old, [])


def test_class_of_old_pictures_alone_is_refused_by_name(old: ImageDataset, new: Path) -> None:
    shutil.copytree(Path(old.name) / "cat", new / "lynx")
    with pytest.raises(DataError, match=r"10 of 10 .* class 'lynx' are known .* as cat, .* own"):
        known_left_out(loaded(new), [old], state_of(("cat", "dog")))


@pytest.mark.parametrize("codec", ["raw", "webp-lossless", "webp:75", "jpeg:75"])
def test_exemplars_tell_what_is_known_where_the_old_pictures_are_gone(
    old: ImageDataset, new: Path, codec: str
) -> None:
    kept = old.train.pixels(np.arange(3))  # of the first class
    for index in range(3):
        assert not isinstance(old.train.images, np.ndarray)
        shutil.copy(old.train.images[index], new / "lion" / f"again-{index}.png")
    before = loaded(new)
    rid, lines = known_left_out(before, [None], state_of(("cat", "dog"), codec, cat=kept))
    assert files(before) - files(rid) == {f"lion/again-{index}.png" for index in range(3)}
    assert lines[1].endswith("again-0.png: comes as lion, learned as cat")


def test_what_was_left_out_stays_out_when_the_run_is_measured_later(
    old: ImageDataset, new: Path
) -> None:
    again(old, "cat/0.png", new / "lion" / "again.png")
    state = state_of(("cat", "dog", "lion", "wolf"))
    first, second, gone = old_without_repeats([old, loaded(new), None], state)
    assert first is old
    assert second is not None
    assert files(second) == {f"{name}/{n}.png" for name in ("lion", "wolf") for n in range(10)}
    assert gone is None
