"""What was kept for the test stays there, and what was learned is never tested on."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from edgecil.data.datasets import ImageDataset
from edgecil.data.folder import load_folder
from edgecil.data.held_out import HeldOut
from tests.edgecil.data.test_folder import photo, photos

SEED = 7


def names(dataset: ImageDataset) -> tuple[set[str], set[str]]:
    """The names of the pictures to learn from and to test on."""
    sides = []
    for split in (dataset.train, dataset.test):
        assert isinstance(split.images, tuple)
        sides.append({f"{path.parent.name}/{path.name}" for path in split.images})
    return sides[0], sides[1]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for seed, name in enumerate(("cat", "dog"), start=1):
        photos(tmp_path / "pets" / name, seed)
    return tmp_path / "pets"


def by_hand(folder: Path, count: int) -> set[str]:
    """The `count` pictures of a class with the lowest hash of seed and bytes."""

    def place(path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return hashlib.sha256(f"{SEED} {digest}".encode()).hexdigest()

    ordered = sorted(folder.iterdir(), key=place)
    return {f"{path.parent.name}/{path.name}" for path in ordered[:count]}


def test_the_lowest_places_of_each_class_are_the_tests(pets: Path) -> None:
    dataset, _ = load_folder(pets, holdout=0.3, seed=SEED)
    learned, tested = names(dataset)
    assert tested == by_hand(pets / "cat", 3) | by_hand(pets / "dog", 3)
    assert len(learned) == 14
    assert dataset.held_out is not None
    assert dataset.held_out.seed == SEED
    assert sorted(dataset.held_out.cuts) == ["cat", "dog"]


def test_pictures_that_come_later_move_none_that_was_there(pets: Path) -> None:
    first, _ = load_folder(pets, holdout=0.3, seed=SEED)
    for number in range(40):
        photo(pets / "cat" / f"new-{number}.png", seed=5000 + number)
    again, _ = load_folder(pets, holdout=0.3, seed=SEED)
    kept, _ = load_folder(pets, held_out=first.held_out)

    learned, tested = names(first)
    assert names(again)[1] & learned, "without the cuts learned ones are tested: a good case"
    learned_now, tested_now = names(kept)
    assert learned <= learned_now
    assert tested <= tested_now
    added = {name for name in tested_now if "new" in name}
    assert 3 <= len(added) <= 25  # about three of ten; one cut of ten pictures says no more
    assert (kept.learned, kept.unparted) == ({}, ())


def test_pictures_that_were_rewritten_are_not_those_that_were_parted(pets: Path) -> None:
    photos(pets / "cat", 1, count=50)
    first, _ = load_folder(pets, holdout=0.3, seed=SEED)
    for path in (pets / "cat").iterdir():
        Image.open(path).save(path, "PNG", compress_level=0)  # as it looked, in other bytes
    again, _ = load_folder(pets, held_out=first.held_out)
    assert names(first)[0] & names(again)[1], "learned ones are drawn for the test: a good case"
    assert again.unparted == ("cat",)


@pytest.mark.parametrize(("deleted", "unparted"), [(0, ()), (2, ("cat",)), (9, ())])
def test_without_its_last_test_picture_a_class_tells_nothing(
    pets: Path, deleted: int, unparted: tuple[str, ...]
) -> None:
    first, _ = load_folder(pets, holdout=0.3, seed=SEED)
    (gone,) = by_hand(pets / "cat", deleted + 1) - by_hand(pets / "cat", deleted)
    (pets / gone).unlink()
    assert load_folder(pets, held_out=first.held_out)[0].unparted == unparted


def test_a_class_that_comes_later_is_drawn_as_any(pets: Path) -> None:
    first, _ = load_folder(pets, holdout=0.3, seed=SEED)
    photos(pets / "eel", 3)
    kept, _ = load_folder(pets, holdout=0.5, held_out=first.held_out)
    assert {name for name in names(kept)[1] if "eel" in name} == by_hand(pets / "eel", 5)


def test_all_pictures_can_be_tested_and_the_learned_ones_are_counted(pets: Path) -> None:
    first, _ = load_folder(pets, holdout=0.3, seed=SEED)
    everything, _ = load_folder(pets, holdout=1, held_out=first.held_out)
    assert len(everything.test) == 20
    assert everything.learned == {"cat": 7, "dog": 7}


def test_a_cut_that_is_there_is_not_drawn_again() -> None:
    held_out = HeldOut(1).with_class("cat", ["aa", "bb"], 0.5)
    assert held_out.with_class("cat", ["cc", "dd", "ee"], 1) == held_out


def test_a_large_share_leaves_one_of_several_to_learn_from() -> None:
    digests = ["aa", "bb", "cc"]
    held_out = HeldOut(1).with_class("cat", digests, 0.9)
    assert sum(held_out.is_test("cat", digest) for digest in digests) == 2
    whole = HeldOut(1).with_class("cat", digests, 1)
    assert all(whole.is_test("cat", digest) for digest in digests)
