"""A folder of photos becomes a data set, and all that is wrong with it is said before learning."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecil.data.folder import load_folder
from edgecil.data.folder_report import FolderReport
from edgecil.errors import DataError, UsageError


def photo(path: Path, seed: int, size: tuple[int, int] = (12, 10)) -> Path:
    """A picture of noise, (width, height); the same seed and size make the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def photos(folder: Path, seed: int, count: int = 10) -> None:
    for number in range(count):
        photo(folder / f"{number:02}.png", 1000 * seed + number)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Ten pictures of each of two classes."""
    folder = tmp_path / "pets"
    photos(folder / "dog", 1)
    photos(folder / "cat", 2)
    return folder


def names(folder: Path, files: object, class_name: str) -> set[str]:
    assert isinstance(files, tuple)
    found = (path.relative_to(folder) for path in files)
    return {path.name for path in found if class_name in path.parts}


# Layouts


def test_class_folders_become_classes_in_sorted_order(pets: Path) -> None:
    dataset, report = load_folder(pets)
    assert dataset.classes == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    assert report == FolderReport(pets, 20, (), (), (), {})
    assert report.lines() == []
    assert dataset.test.pixels().shape == (4, 32, 32, 3)


def test_labels_are_those_of_the_folders(pets: Path) -> None:
    dataset, _ = load_folder(pets)
    for split in (dataset.train, dataset.test):
        assert isinstance(split.images, tuple)
        labels = [dataset.classes[label] for label in split.labels]
        assert [path.parent.name for path in split.images] == labels


@pytest.mark.parametrize("name", ["val", "test"])
def test_train_and_test_folders_are_used_as_they_are(tmp_path: Path, name: str) -> None:
    photos(tmp_path / "train" / "cat", 1, 5)
    photos(tmp_path / name / "cat", 2, 3)
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (5, 3)


def test_test_wins_over_val(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        photos(tmp_path / name / "cat", number, 2 + number)
    assert len(load_folder(tmp_path)[0].test) == 4


def test_train_folder_alone_holds_out_its_own(tmp_path: Path) -> None:
    photos(tmp_path / "train" / "cat", 1)
    dataset, _ = load_folder(tmp_path)
    assert dataset.classes == ("cat",)
    assert (len(dataset.train), len(dataset.test)) == (8, 2)


def test_train_can_be_the_name_of_a_class(tmp_path: Path) -> None:
    photos(tmp_path / "train" / "steam", 1)
    photos(tmp_path / "bus", 2)
    assert load_folder(tmp_path)[0].classes == ("bus", "train")


def test_pictures_in_deeper_folders_belong_to_the_class(tmp_path: Path) -> None:
    photos(tmp_path / "cat" / "2024" / "May", 1, 3)
    photos(tmp_path / "cat", 2, 2)
    assert load_folder(tmp_path)[1].used == 5


def test_hidden_files_are_skipped_and_other_endings_counted(pets: Path) -> None:
    (pets / "cat" / ".DS_Store").write_bytes(b"x")
    photo(pets / ".thumbnails" / "a.png", 77)
    photo(pets / "cat" / ".thumbnails" / "a.png", 78)
    (pets / "cat" / "boxes.txt").write_text("1 2 3 4")
    (pets / "dog" / "raw.TIFF").write_bytes(b"x")
    (pets / "classes.txt").write_text("cat dog")
    report = load_folder(pets)[1]
    assert report.used == 20
    assert report.ignored == {".tiff": 1, ".txt": 1}
    assert report.lines()[0].endswith(
        "2 files that are no pictures by their ending, not looked into"
    )


def test_endings_in_capitals_or_none_are_read(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.JPEG", 1)
    photo(tmp_path / "cat" / "b", 2)
    assert load_folder(tmp_path)[1].used == 2


def test_what_systems_leave_behind_is_neither_a_class_nor_a_picture(pets: Path) -> None:
    photo(pets / "__MACOSX" / "cat" / "a.png", 77)
    photo(pets / "cat" / "@eaDir" / "00.png" / "SYNOPHOTO_THUMB_XL.jpg", 78)
    (pets / "$RECYCLE.BIN").mkdir()
    (pets / "cat" / "LICENSE").write_text("free")
    dataset, report = load_folder(pets)
    assert (dataset.classes, report.used, report.ignored) == (("cat", "dog"), 20, {"": 1})
    assert report.lines()[1] == "  (none): 1"


def test_linked_classes_and_folders_within_classes_are_learned_from(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos(pets.parent / "store" / "fish", 3)
    photos(pets.parent / "store" / "more", 4, 5)
    (pets / "fish").symlink_to("../store/fish")
    (pets / "cat" / "more").symlink_to("../../store/more")
    (pets / "cat" / "up").symlink_to("..")
    (pets / "all").symlink_to(".")
    (pets / "cow").symlink_to("/media/taken-out")
    dataset, report = load_folder(pets)
    counts = np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels)
    assert dict(zip(dataset.classes, counts.tolist(), strict=True)) == {
        "cat": 15,
        "dog": 10,
        "fish": 10,
    }
    back = "this link leads back to a folder that it lies in"
    assert report.not_followed == (
        (pets / "all", back),
        (pets / "cat" / "up", back),
        (pets / "cow", "this link leads nowhere"),
    )
    assert f"{pets}: 3 links not followed" in caplog.messages


def test_class_that_is_linked_under_two_names_is_left_out_of_both(pets: Path) -> None:
    (pets / "hound").symlink_to("dog")
    with pytest.raises(DataError, match=r"2 of the 3 classes \(dog, hound\)"):
        load_folder(pets)


def test_names_that_look_alike_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for number, name in enumerate((composed, decomposed, "bar")):
        photos(tmp_path / "train" / name, number, 4)
    photos(tmp_path / "val" / decomposed, 5, 2)
    photos(tmp_path / "val" / "bar", 6, 2)
    dataset, _ = load_folder(tmp_path)
    assert dataset.classes == ("bar", composed)
    assert np.bincount(dataset.train.labels).tolist() == [4, 8]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    listed, _ = load_folder(tmp_path, classes=(decomposed,))
    assert listed.classes == (composed,)
    assert len(listed.train) == 8


def test_names_with_joiners_are_classes(tmp_path: Path) -> None:
    family, persian = "\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e\u0648"
    photos(tmp_path / family, 1)
    photos(tmp_path / persian, 2)
    assert load_folder(tmp_path)[0].classes == (persian, family)


@pytest.mark.parametrize("twins", [("Cat", "cat"), ("red  cat", "red cat"), ("Cat", "cat ")])
def test_names_that_differ_in_case_or_spaces_alone_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, twins: tuple[str, str]
) -> None:
    for number, name in enumerate((*twins, "zebra", "ze bra")):
        photos(tmp_path / name, number)
    assert load_folder(tmp_path)[0].classes == (*twins, "ze bra", "zebra")
    (message,) = caplog.messages
    one, other = twins
    assert message.startswith(f"{tmp_path}: {one!r} and {other!r} are learned as two classes")


# What a device was taught


def test_taught_classes_with_one_usable_picture_are_left_out_and_told(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos(pets / "eel", 3, count=1)
    photos(pets / "fox", 4, count=2)
    (pets / "fox" / "00.png").write_bytes(b"no picture")
    photos(pets / "gnu", 5, count=2)
    dataset, _ = load_folder(pets, taught="taught.zip")
    assert dataset.classes == ("cat", "dog", "gnu")
    assert np.bincount(dataset.train.labels).tolist() == [8, 8, 1]
    assert dataset.held_out is not None
    assert sorted(dataset.held_out.cuts) == ["cat", "dog", "gnu"]
    told = [message for message in caplog.messages if "stays taught on the device" in message]
    assert [message.partition(",")[0] for message in told] == [
        "taught.zip: left out: class 'eel'",
        "taught.zip: left out: class 'fox'",
    ]
    for name in ("eel", "fox"):
        shutil.rmtree(pets / name)
    assert load_folder(pets)[0].fingerprint == dataset.fingerprint


def test_where_no_taught_class_has_enough_the_file_is_named(tmp_path: Path) -> None:
    photos(tmp_path / "eel", 3, count=1)
    with pytest.raises(DataError, match=r"^taught\.zip: .* two usable pictures .* \(eel\); teach"):
        load_folder(tmp_path, taught="taught.zip")


# What is held out


def test_held_out_pictures_are_the_same_every_time_and_others_with_another_seed(
    pets: Path,
) -> None:
    first, again, other = (load_folder(pets, holdout=0.5, seed=seed)[0] for seed in (0, 0, 1))
    assert first.test.images == again.test.images
    assert first.fingerprint == again.fingerprint
    assert first.test.images != other.test.images


def test_held_out_pictures_stay_when_classes_are_added_and_files_renamed(pets: Path) -> None:
    before = load_folder(pets)[0].test.pixels()
    for path in list((pets / "cat").iterdir()):
        path.rename(path.with_name(f"renamed-{99 - int(path.stem)}.png"))
    photos(pets / "axolotl", 3)
    dataset = load_folder(pets)[0]
    held_out = dataset.test.pixels()[dataset.test.labels > 0]
    assert {picture.tobytes() for picture in held_out} == {picture.tobytes() for picture in before}


@pytest.mark.parametrize(
    ("count", "holdout", "tested"), [(2, 0.2, 1), (3, 0.2, 1), (10, 0.34, 3), (3, 1.0, 3)]
)
def test_share_of_each_class_is_held_out_and_at_least_one(
    tmp_path: Path, count: int, holdout: float, tested: int
) -> None:
    photos(tmp_path / "cat", 1, count)
    dataset, _ = load_folder(tmp_path, holdout=holdout)
    assert (len(dataset.train), len(dataset.test)) == (count - tested, tested)


@pytest.mark.parametrize("holdout", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_holdout_is_refused(pets: Path, holdout: float) -> None:
    with pytest.raises(UsageError, match="holdout"):
        load_folder(pets, holdout=holdout)


# The size


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(10, 12), (9, 9), (500, 8)], 32),
        ([(64, 64), (64, 80), (300, 300)], 64),
        ([(100, 133), (90, 101), (101, 120)], 96),
        ([(600, 400), (500, 700), (300, 300)], 224),
    ],
)
def test_size_is_the_median_shorter_side_within_limits(
    tmp_path: Path, sizes: list[tuple[int, int]], expected: int
) -> None:
    for number, size in enumerate(sizes):
        photo(tmp_path / "cat" / f"{number}.png", number, size)
    dataset, _ = load_folder(tmp_path)
    assert dataset.image_size_px == expected
    assert dataset.train.pixels([0]).shape == (1, expected, expected, 3)


def test_size_can_be_given(pets: Path) -> None:
    dataset, _ = load_folder(pets, image_size_px=48)
    assert dataset.image_size_px == 48
    assert dataset.fingerprint != load_folder(pets)[0].fingerprint
    with pytest.raises(UsageError, match="image size"):
        load_folder(pets, image_size_px=-1)


# What is wrong with the pictures


def test_damaged_files_and_copies_are_all_reported_before_learning(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncated = pets / "cat" / "00.png"
    truncated.write_bytes(truncated.read_bytes()[:100])
    (pets / "dog" / "00.png").write_bytes(b"")
    (pets / "dog" / "story.jpg").write_text("A dog.")
    os.mkfifo(pets / "dog" / "pipe.png")
    (pets / "cat" / "copy.png").write_bytes((pets / "cat" / "05.png").read_bytes())
    (pets / "dog" / "cat.png").write_bytes((pets / "cat" / "06.png").read_bytes())
    with caplog.at_level(logging.WARNING, logger="edgecil"):
        dataset, report = load_folder(pets)
    assert [
        (path.relative_to(pets).as_posix(), reason[:30]) for path, reason in report.damaged
    ] == [
        ("cat/00.png", "the picture is damaged (image "),
        ("dog/00.png", "the file is empty; replace it"),
        ("dog/pipe.png", "this is a folder, pipe or devi"),
        ("dog/story.jpg", "this is no JPEG, PNG, WebP, BM"),
    ]
    assert report.copies == ((pets / "cat" / "copy.png", pets / "cat" / "05.png"),)
    assert report.contradictions == ((pets / "cat" / "06.png", pets / "dog" / "cat.png"),)
    assert report.used == 17
    assert len(dataset.train) + len(dataset.test) == 17
    used = names(pets, dataset.train.images, "cat") | names(pets, dataset.test.images, "cat")
    assert used == {f"0{number}.png" for number in (1, 2, 3, 4, 5, 7, 8, 9)}
    assert caplog.messages == report.lines()
    assert f"{pets}: 4 damaged, left out" in caplog.messages
    assert "  cat/06.png = dog/cat.png" in caplog.messages


def test_picture_in_train_and_test_is_only_tested_on(tmp_path: Path) -> None:
    photos(tmp_path / "train" / "cat", 1, 4)
    photos(tmp_path / "test" / "cat", 2, 2)
    leak = photo(tmp_path / "train" / "cat" / "leak.png", 2000)  # as test/cat/00.png
    dataset, report = load_folder(tmp_path)
    assert report.copies == ((leak, tmp_path / "test" / "cat" / "00.png"),)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)
    assert isinstance(dataset.train.images, tuple)
    assert leak not in dataset.train.images


def test_picture_in_train_and_test_under_two_classes_is_left_out_of_both(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        photos(tmp_path / "train" / name, number, 4)
        photos(tmp_path / "val" / name, 10 + number, 2)
    photo(tmp_path / "train" / "dog" / "cat.png", 10_000)  # as val/cat/00.png
    dataset, report = load_folder(tmp_path)
    assert len(report.contradictions) == 1
    assert (len(dataset.train), len(dataset.test)) == (8, 3)


def test_long_reports_are_cut_and_say_so(tmp_path: Path) -> None:
    damaged = tuple((tmp_path / "cat" / f"{number}.png", "empty") for number in range(30))
    lines = FolderReport(tmp_path, 0, damaged, (), (), {}).lines(limit=3)
    assert lines == [
        f"{tmp_path}: 30 damaged, left out",
        "  cat/0.png: empty",
        "  cat/1.png: empty",
        "  cat/2.png: empty",
        "  ... and 27 more",
    ]


def test_fingerprint_changes_with_a_picture_and_with_a_name(pets: Path) -> None:
    before = load_folder(pets)[0].fingerprint
    photo(pets / "cat" / "03.png", 4242)
    changed = load_folder(pets)[0].fingerprint
    (pets / "cat").rename(pets / "kitten")
    renamed = load_folder(pets)[0].fingerprint
    assert len({before, changed, renamed}) == 3


# What cannot be learned from


def test_empty_class_folder_is_refused_by_name(pets: Path) -> None:
    (pets / "fish").mkdir()
    with pytest.raises(DataError, match=r"fish: there is no .* add pictures or delete the folder"):
        load_folder(pets)
    (pets / "fish" / "notes.txt").write_text("no pictures")
    with pytest.raises(DataError, match="fish"):
        load_folder(pets)


def test_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 1)
    with pytest.raises(DataError, match="no class folders"):
        load_folder(tmp_path)


def test_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="no such folder"):
        load_folder(photo(tmp_path / "a.png", 1))


def test_class_with_one_picture_is_refused_by_name(pets: Path) -> None:
    photo(pets / "fish" / "only.png", 5)
    with pytest.raises(DataError, match=r"learn from in 1 of the 3 classes \(fish\)"):
        load_folder(pets)


def test_class_whose_pictures_are_all_damaged_is_reported_then_refused(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (pets / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"\(cat\)"):
        load_folder(pets)
    assert f"{pets}: 10 damaged, left out" in caplog.messages


def test_folder_in_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no usable picture"):
        load_folder(tmp_path, holdout=1.0)


@pytest.mark.parametrize("extra", ["train", "test"])
def test_class_in_train_or_test_alone_is_refused_by_name(tmp_path: Path, extra: str) -> None:
    for name in ("train", "test"):
        photos(tmp_path / name / "cat", len(name), 2)
    photos(tmp_path / extra / "dog", 9, 2)
    purpose = "test on" if extra == "train" else "learn from"
    with pytest.raises(DataError, match=rf"to {purpose} in 1 of the 2 classes \(dog\)"):
        load_folder(tmp_path)


def test_a_split_is_learned_from_whatever_share_would_be_held_out(tmp_path: Path) -> None:
    for name in ("train", "test"):
        photos(tmp_path / name / "cat", len(name), 2)
    dataset, _ = load_folder(tmp_path, holdout=1)
    assert (len(dataset.train), len(dataset.test)) == (2, 2)
    photos(tmp_path / "test" / "dog", 9, 2)
    with pytest.raises(DataError, match=r"to learn from in 1 of the 2 classes \(dog\)"):
        load_folder(tmp_path, holdout=1)


# What is known already


def test_known_classes_alone_are_read_in_their_order(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(pets / "cat", pets / "all")
    (pets / "all" / "damaged.png").write_bytes(b"x")
    photos(pets / "c\x1b[31mow", 5)
    dataset, report = load_folder(pets, known_classes=("dog", "cat"))
    assert dataset.classes == ("dog", "cat")
    assert dataset.others == ("all", "c\x1b[31mow")
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    assert (report.used, caplog.messages) == (20, [])


def test_known_classes_are_read_as_far_as_they_are_there(pets: Path) -> None:
    (pets / "fish").mkdir()
    photo(pets / "newt" / "only.png", 5)
    dataset, _ = load_folder(pets, known_classes=("cow", "dog", "fish", "newt"))
    assert dataset.classes == ("dog", "fish", "newt")
    assert np.bincount(dataset.train.labels, minlength=3).tolist() == [8, 0, 0]
    assert np.bincount(dataset.test.labels, minlength=3).tolist() == [2, 0, 1]


def test_where_no_known_class_is_left_nothing_is_read(pets: Path) -> None:
    dataset, report = load_folder(pets, known_classes=("cow",))
    assert (dataset.classes, dataset.others, report.used) == ((), ("cat", "dog"), 0)
    assert (len(dataset.train), len(dataset.test), dataset.image_size_px) == (0, 0, 32)


def test_class_name_with_control_characters_is_refused(pets: Path) -> None:
    photos(pets / "c\x1b[31mow", 5)
    with pytest.raises(DataError, match=r"'c\\x1b\[31mow'.* holds U\+001B; rename it"):
        load_folder(pets)


def test_class_name_that_is_no_utf8_is_refused_with_the_byte(pets: Path) -> None:
    photos(pets / os.fsdecode(b"caf\xe9"), 5)
    with pytest.raises(DataError, match=r"U\+DCE9 \(the byte 0xE9, which is no UTF-8\); rename"):
        load_folder(pets)
