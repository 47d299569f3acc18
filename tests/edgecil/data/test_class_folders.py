"""A list of classes restricts a folder and orders its labels; ImageNet lies as it usually does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data import load_dataset, load_folder, read_class_list
from edgecil.errors import DataError, UsageError

CLASSES = ("n01", "n02", "n03", "n04")


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Four classes, two pictures each to learn from and one to test on."""
    folder = tmp_path / "imagenet"
    for label, name in enumerate(CLASSES):
        for number in range(2):
            photo(folder / "train" / name / f"{name}_{number}.JPEG", 10 * label + number)
        photo(folder / "val" / name / f"ILSVRC2012_val_{label:08}.JPEG", 10 * label + 2)
    return folder


def listed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_are_read_in_order_without_remarks(tmp_path: Path) -> None:
    path = listed(tmp_path, "\ufeff# mine\nn03\tEgyptian cat\n\n  n01  \nrocking chair, rocker\n")
    assert read_class_list(path) == ("n03", "n01", "rocking chair, rocker")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n01\nn02\n\nn01\n", r"'n01' is in line 1 and again in line 4"),
        ("", "no class is named"),
        ("# nothing\n\n", "no class is named"),
    ],
)
def test_list_that_is_of_no_use_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_class_list(listed(tmp_path, text))


def test_names_that_look_alike_are_one_in_a_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is in line 1 and again in line 2"):
        read_class_list(listed(tmp_path, "caf\u00e9\ncafe\u0301\n"))


def test_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: cannot be read .* check --classes-file"):
        read_class_list(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text in UTF-8"):
        read_class_list(tmp_path / "binary")


def test_listed_classes_alone_are_loaded_with_labels_in_the_lists_order(imagenet: Path) -> None:
    photo(imagenet / "train" / "n04" / "damaged.JPEG", 1)
    (imagenet / "train" / "n04" / "damaged.JPEG").write_bytes(b"not looked into")
    dataset, report = load_folder(imagenet, image_size_px=8, classes=("n03", "n01"))
    assert dataset.classes == ("n03", "n01")
    assert isinstance(dataset.train.images, tuple)
    found = [path.parent.name for path in dataset.train.images]
    assert [dataset.classes[label] for label in dataset.train.labels] == found
    assert (len(dataset.train), len(dataset.test), report.damaged) == (4, 2, ())


def test_another_order_of_the_list_is_other_data(imagenet: Path) -> None:
    one, other = (
        load_folder(imagenet, image_size_px=8, classes=classes)[0].fingerprint
        for classes in (("n03", "n01"), ("n01", "n03"))
    )
    assert one != other


def test_listed_class_without_a_folder_is_named(imagenet: Path) -> None:
    with pytest.raises(DataError, match=r"2 of the 3 classes .* \(n05, n06\); check --data and"):
        load_folder(imagenet, classes=("n05", "n01", "n06"))


def test_list_is_for_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--classes-file is for folders, and glyphs is none"):
        load_dataset("glyphs", classes=("upper-A",))


@pytest.mark.parametrize("name", ["val", "test"])
def test_test_pictures_outside_of_class_folders_are_refused_with_the_remedy(
    imagenet: Path, name: str
) -> None:
    (imagenet / "val").rename(imagenet / "taken-away")
    (imagenet / "taken-away").rename(imagenet.parent / "taken-away")
    photo(imagenet / name / "ILSVRC2012_val_00000001.JPEG", 1)
    with pytest.raises(DataError, match=rf"{name}: the pictures lie outside .*valprep\.sh"):
        load_folder(imagenet)


def test_unlabelled_test_folder_of_imagenet_does_not_hide_its_val_folder(imagenet: Path) -> None:
    photo(imagenet / "test" / "ILSVRC2012_test_00000001.JPEG", 1)
    assert len(load_folder(imagenet, image_size_px=8)[0].test) == 4


def test_margin_is_cut_off_the_test_pictures_alone(imagenet: Path) -> None:
    dataset, _ = load_folder(imagenet, image_size_px=14, shorter_side_px=16)
    assert dataset.test.preprocessing.shorter_side_px == 16
    assert dataset.train.preprocessing.shorter_side_px is None
    assert dataset.train.pixels().shape[1:] == dataset.test.pixels().shape[1:] == (14, 14, 3)
