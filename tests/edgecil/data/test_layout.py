"""Folders are read as their makers meant them; where none can know, both readings are shown."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data import load_folder
from edgecil.data.layout import split_roots
from edgecil.errors import DataError

CLASSES = ("cat", "dog")


def put(*folders: Path, count: int = 3) -> None:
    """Different pictures in every folder."""
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(count):
            seed = [number, *folder.as_posix().encode()]
            pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")


def splits(root: Path, *names: str, classes: tuple[str, ...] = CLASSES) -> Path:
    put(*(root / name / one for name in names for one in classes))
    return root


def roots(folder: Path) -> dict[bool | None, str]:
    return {k: path.relative_to(folder).as_posix() for k, path in split_roots(folder).items()}


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize(
    "test", ["val", "Valid", "VALIDATION", "test", "TEST", "Testing", "eval", "validation"]
)
def test_folders_for_training_and_test_go_by_many_names(
    tmp_path: Path, train: str, test: str
) -> None:
    splits(tmp_path, train, test)
    assert roots(tmp_path) == {False: train, True: test}
    assert load_folder(tmp_path)[0].classes == CLASSES


def test_exported_folder_with_three_splits_is_tested_on_its_test(tmp_path: Path) -> None:
    splits(tmp_path, "train", "valid", "test")
    (tmp_path / "README.roboflow.txt").write_text("exported")
    assert roots(tmp_path) == {False: "train", True: "test"}


def test_training_folder_alone_holds_out_its_own(tmp_path: Path) -> None:
    splits(tmp_path, "Training")
    assert roots(tmp_path) == {None: "Training"}


def test_splits_that_came_out_of_zip_files_of_their_names_are_read(tmp_path: Path) -> None:
    splits(tmp_path, "train/train", "Test/test")
    assert roots(tmp_path) == {False: "train/train", True: "Test/test"}


def test_names_of_splits_may_be_those_of_classes_among_others(tmp_path: Path) -> None:
    put(tmp_path / "train" / "steam", tmp_path / "training" / "gym", tmp_path / "bus")
    assert load_folder(tmp_path)[0].classes == ("bus", "train", "training")


def test_linked_splits_are_read(tmp_path: Path) -> None:
    splits(tmp_path / "store", "a", "b")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "data" / "valid").symlink_to(tmp_path / "store" / "b")
    assert roots(tmp_path / "data") == {False: "train", True: "valid"}


@pytest.mark.parametrize("twins", [("train", "Training"), ("test", "testing")])
def test_two_folders_for_the_same_part_are_refused(tmp_path: Path, twins: tuple[str, str]) -> None:
    splits(tmp_path, *{"train", "test", *twins})
    with pytest.raises(DataError, match=r"both are names for the same part"):
        split_roots(tmp_path)


def test_folder_of_test_pictures_without_classes_gives_way_to_one_with_them(tmp_path: Path) -> None:
    splits(tmp_path, "train", "val")
    put(tmp_path / "test" / "images")
    assert roots(tmp_path) == {False: "train", True: "val"}


def test_test_folder_without_classes_of_the_training_is_refused(tmp_path: Path) -> None:
    splits(tmp_path, "train")
    put(tmp_path / "val" / "images")  # as Tiny-ImageNet has it
    with pytest.raises(
        DataError, match=r"val: .* outside of class folders \(train/ has no class images"
    ):
        split_roots(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("fold1", "fold2", "fold3"),
        ("seg_train", "seg_test"),
        ("valid", "test"),
        ("train", "dev"),
        ("train", "test", "labels"),
    ],
)
def test_splits_of_other_names_are_refused_with_both_readings(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    splits(tmp_path, *(name for name in names if name != "labels"))
    if "labels" in names:
        put(tmp_path / "labels")
    with pytest.raises(DataError) as refusal:
        load_folder(tmp_path)
    told = str(refusal.value)
    assert "two ways" in told
    assert "parts of one data set, each with the classes cat, dog" in told
    assert "name the one to learn from train, the one to test on test" in told
    assert "Or they are the classes" in told
    assert "--classes-file" in told


def test_stray_picture_does_not_make_classes_of_splits(tmp_path: Path) -> None:
    splits(tmp_path, "train", "test")
    put(tmp_path / "labels")
    (tmp_path / "labels" / "0.png").rename(tmp_path / "train" / "stray.png")
    with pytest.raises(DataError, match="test, train are parts of one data set"):
        split_roots(tmp_path)


def test_splits_packed_once_more_are_refused(tmp_path: Path) -> None:
    for name in ("seg_train", "seg_test"):
        splits(tmp_path / name, name)
    put(tmp_path / "seg_pred" / "seg_pred")
    with pytest.raises(DataError, match="seg_test, seg_train are parts of one data set, each with"):
        split_roots(tmp_path)


def test_domains_with_the_same_classes_are_refused(tmp_path: Path) -> None:
    for name in ("amazon", "webcam"):
        splits(tmp_path / name, "images")
    with pytest.raises(DataError, match="amazon, webcam are parts of one data set"):
        split_roots(tmp_path)


def test_classes_that_are_split_each_are_refused_with_both_readings(tmp_path: Path) -> None:
    put(tmp_path / "bird")
    splits(tmp_path, "cat", "dog", classes=("train", "test"))
    with pytest.raises(DataError) as refusal:
        load_folder(tmp_path)
    told = str(refusal.value)
    assert "bird, cat, dog are classes that are split into test, train" in told
    assert "folders test/cat, train/cat" in told
    assert "all pictures below cat are of one class" in told


@pytest.mark.parametrize("names", [("train", "test"), ("train/train", "test1/test1")])
def test_splits_without_class_folders_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(*(tmp_path / name for name in names))
    with pytest.raises(DataError, match=r"pictures lie outside of class folders.*train/cat"):
        load_folder(tmp_path)


@pytest.mark.parametrize("depth", ["archive", "chest/chest"])
def test_data_set_packed_into_one_more_folder_is_refused_with_the_way_in(
    tmp_path: Path, depth: str
) -> None:
    splits(tmp_path / depth, "train", "test", "val")
    (tmp_path / "__MACOSX").mkdir()
    with pytest.raises(DataError, match=rf"one folder alone.*--data {tmp_path / depth};"):
        load_folder(tmp_path)


def test_one_class_of_folders_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits(tmp_path, "birds", classes=("robin", "wren"))
    with caplog.at_level(logging.WARNING, logger="edgecil"):
        assert load_folder(tmp_path)[0].classes == ("birds",)
    assert f"if these are the classes, give --data {tmp_path / 'birds'}" in caplog.text


# What only looks like splits


@pytest.mark.parametrize("inner", ["images", "Photos"])
def test_classes_with_a_folder_of_images_each_are_classes(tmp_path: Path, inner: str) -> None:
    splits(tmp_path, "cat", "dog", classes=(inner,))
    assert load_folder(tmp_path)[0].classes == CLASSES


def test_classes_with_pictures_beside_the_same_folders_are_classes(tmp_path: Path) -> None:
    put(tmp_path / "cat", tmp_path / "dog")
    splits(tmp_path, "cat", "dog", classes=("front", "back"))
    assert load_folder(tmp_path)[0].classes == CLASSES


def test_classes_with_a_split_as_one_word_of_their_name_are_classes(tmp_path: Path) -> None:
    put(tmp_path / "train ticket", tmp_path / "test-tube", tmp_path / "eval board" / "2024")
    assert load_folder(tmp_path)[0].classes == ("eval board", "test-tube", "train ticket")


def test_classes_named_as_pictures_are_classes(tmp_path: Path) -> None:
    put(tmp_path / "photos", tmp_path / "raw")
    assert load_folder(tmp_path)[0].classes == ("photos", "raw")


def test_classes_with_folders_of_their_own_are_classes(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "2023", tmp_path / "dog" / "2024", tmp_path / "train" / "steam")
    assert load_folder(tmp_path)[0].classes == ("cat", "dog", "train")


def test_folders_for_training_beside_something_else_are_refused_with_both_readings(
    tmp_path: Path,
) -> None:
    splits(tmp_path, "train", classes=("robin", "wren"))
    put(tmp_path / "extra")
    with pytest.raises(DataError, match=rf"two ways.*robin, wren, and extra.*--data {tmp_path}/tr"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, known_classes=("extra",))[0].classes == ("extra",)


def test_folders_of_folders_are_classes_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits(tmp_path, "birds", classes=("robin", "wren"))
    splits(tmp_path, "fish", classes=("carp", "eel", "pike"))
    with caplog.at_level(logging.WARNING, logger="edgecil"):
        assert load_folder(tmp_path)[0].classes == ("birds", "fish")
    assert "the classes are birds, fish" in caplog.text
    assert "such as robin, wren of birds; if those are the classes, put them side" in caplog.text


def test_so_they_are_where_one_of_them_has_but_one_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits(tmp_path, "animals", classes=("cat", "dog"))
    splits(tmp_path, "a-thing", classes=("cup",))
    with caplog.at_level(logging.WARNING, logger="edgecil"):
        assert load_folder(tmp_path)[0].classes == ("a-thing", "animals")
    assert "such as cat, dog of animals; if those are the classes" in caplog.text


def test_named_classes_settle_which_reading_is_meant(tmp_path: Path) -> None:
    splits(tmp_path, "cat", "dog", classes=("2023", "2024"))
    with pytest.raises(DataError, match="two ways"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, classes=CLASSES)[0].classes == CLASSES
    assert load_folder(tmp_path, known_classes=("dog",))[0].classes == ("dog",)
