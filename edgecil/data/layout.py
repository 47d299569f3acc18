"""Where the class folders of a data set are: in one folder, or apart for training and test.

Names of the folders for training and test are read in small and capital letters. What could mean
something else than it seems to is refused with both readings, for a network that has learned the
classes "train", "valid" and "test" looks quite like one that has learned.
"""

import logging
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from edgecil.errors import DataError
from edgecil_devices.class_names import composed
from edgecil_devices.picture_files import is_folder, is_hidden, is_picture_file, leads_back

TRAIN_NAMES = ("train", "training")
"""Folders of pictures to learn from."""

TEST_NAMES = ("test", "testing")
"""Folders of pictures to test on, which win over `VAL_NAMES`."""

VAL_NAMES = ("val", "valid", "validation", "eval")
"""Folders of pictures to test on where there is none of `TEST_NAMES`."""

_SPLIT_NAMES = {*TRAIN_NAMES, *TEST_NAMES, *VAL_NAMES}

# Folders that people put between a class and its pictures, as Tiny-ImageNet has "images".
_WRAPPERS = {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "data"}
_WRAPPERS |= {"rgb", "raw", "jpg", "jpeg", "png", "frames", "original", "originals"}

_logger = logging.getLogger("edgecil")


@dataclass(frozen=True)
class _Part:
    """A folder in the data set's folder: a class, or the classes of a split."""

    path: Path
    holds_pictures: bool
    """Whether pictures lie in it directly."""
    below: frozenset[str]
    """Names of the folders in it or, where it holds another one alone, in that."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def holds_folders_alone(self) -> bool:
        return bool(self.below) and not self.holds_pictures

    @property
    def holds_classes(self) -> bool:
        """Whether what lies in it looks like the folders of several classes."""
        names = [name for name in self.below if name.lower() not in _WRAPPERS]
        return self.holds_folders_alone and len(names) > 1

    @property
    def words(self) -> set[str]:
        """The words of its name: "seg" and "train" of `seg_train2`."""
        return set(re.findall("[a-z]+", self.name.lower()))

    @property
    def is_named_as_split(self) -> bool:
        """Whether its name says split and nothing else, as `test1` and `train_images`."""
        return bool(self.words & _SPLIT_NAMES) and self.words <= _SPLIT_NAMES | _WRAPPERS


def split_roots(folder: Path, classes: Collection[str] = ()) -> dict[bool | None, Path]:
    """The folders that hold class folders: for training and test, or for both together (None).

    Args:
        folder: the data set's folder.
        classes: names of classes that are known already; a folder that has one of these right in
            it and can be read in two ways holds classes.

    Raises:
        DataError: there is no such folder, its test pictures lie outside of class folders, or it
            can be read in two ways.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; check --data")
    names = [path.name for path in subfolders(folder)]
    if {name.lower() for name in names} <= _SPLIT_NAMES:
        train = _one_of(folder, names, TRAIN_NAMES)
        if train and subfolders(train):
            test = _test_folder(folder, names, train)
            if test is not None:
                return {False: train, True: test}
            _refuse_two_readings(train, classes)
            return {None: train}
    _refuse_two_readings(folder, classes)  # "train" is one class among others
    return {None: folder}


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that count, in the order of their names; links to folders too.

    Raises:
        DataError: the folder cannot be listed.
    """
    real = os.path.realpath(folder)
    return [
        folder / entry.name
        for entry in visible_entries(folder)
        if is_folder(entry)
        and not (entry.is_symlink() and leads_back(os.path.realpath(entry), real))
    ]


def visible_entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder and is not hidden, in the order of the names.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
    return sorted(visible, key=lambda entry: entry.name)


def shown(names: Sequence[str]) -> str:
    """The first five names, and that there are more."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _one_of(folder: Path, names: Iterable[str], wanted: Collection[str]) -> Path | None:
    found = [name for name in names if name.lower() in wanted]
    if len(found) > 1:
        raise DataError(
            f"{folder}: {' and '.join(found)} both are names for the same part of the pictures; "
            "put their class folders together under one of them, or take one away"
        )
    return _unpacked(folder / found[0]) if found else None


def _unpacked(folder: Path) -> Path:
    """The folder of the same name in it, if that is all it holds: zip files come out like that."""
    below = subfolders(folder)
    if len(below) == 1 and below[0].name.lower() == folder.name.lower() and subfolders(below[0]):
        return below[0]
    return folder


def _test_folder(folder: Path, names: Sequence[str], train: Path) -> Path | None:
    """The folder of test pictures beside `train`; None where there are none."""
    tested = _one_of(folder, names, TEST_NAMES)
    candidates = [tested] if tested else []
    learned = _class_names(train)
    if tested and not learned.isdisjoint(_class_names(tested)):
        return tested
    if validated := _one_of(folder, names, VAL_NAMES):
        candidates.append(validated)
        if not learned.isdisjoint(_class_names(validated)):
            return validated
    for test in candidates:
        within = subfolders(test)
        if within or _holds_pictures(test):
            strange = f" ({train.name}/ has no class {shown([path.name for path in within])})"
            raise DataError(
                f"{test}: the pictures lie outside of class folders{strange if within else ''}; "
                "move each into a folder with its class's name, as the script valprep.sh of "
                "soumith/imagenetloader.torch does for ImageNet, or take "
                f"{test.name}/ away to hold out some of {train.name}/"
            )
    return None


def _class_names(folder: Path) -> set[str]:
    return {composed(path.name) for path in subfolders(folder)}


def _holds_pictures(folder: Path) -> bool:
    return any(is_picture_file(entry) and not is_folder(entry) for entry in visible_entries(folder))


def _refuse_two_readings(folder: Path, classes: Collection[str]) -> None:
    """Refuse a folder whose own folders may be something else than classes."""
    parts = [_part(path) for path in subfolders(folder)]
    if not {composed(name) for name in classes}.isdisjoint(composed(part.name) for part in parts):
        return
    if len(parts) < 2:
        for part in parts:
            _refuse_wrapping(part)
        return
    for part in parts:
        if part.holds_folders_alone and _has_splits(part.below):
            raise DataError(_split_classes(folder, parts, part))
    if shared := _shared(parts):
        raise DataError(_parts_of_one(folder, *shared))
    for part in parts:
        if part.is_named_as_split and part.holds_classes:
            raise DataError(_split_beside(folder, parts, part))
    deep = [part for part in parts if part.holds_classes]
    if deep and all(part.holds_folders_alone for part in parts):
        _logger.warning(
            "%s: the classes are %s, and all pictures in the folders in these count as theirs, "
            "such as %s of %s; if those are the classes, put them side by side in one folder",
            folder,
            shown([part.name for part in parts]),
            shown(sorted(deep[0].below)),
            deep[0].name,
        )


def _part(path: Path) -> _Part:
    holds_pictures, below = _holds_pictures(path), subfolders(path)
    while len(below) == 1 and not holds_pictures and (deeper := subfolders(below[0])):
        holds_pictures, below = _holds_pictures(below[0]), deeper
    return _Part(path, holds_pictures, frozenset(composed(one.name) for one in below))


def _has_splits(names: Iterable[str]) -> bool:
    lower = {name.lower() for name in names}
    return not lower.isdisjoint(TRAIN_NAMES) and not lower.isdisjoint({*TEST_NAMES, *VAL_NAMES})


def _shared(parts: Sequence[_Part]) -> tuple[list[_Part], set[str]] | None:
    """The parts that look like splits, and the folders that all of them have."""
    alone = [part for part in parts if part.holds_folders_alone]
    named = [part for part in parts if part.below and not part.words.isdisjoint(_SPLIT_NAMES)]
    for candidates in (alone if len(alone) == len(parts) else [], named):
        if len(candidates) > 1:
            common = reduce(frozenset.intersection, (part.below for part in candidates))
            if any(name.lower() not in _WRAPPERS for name in common):
                return candidates, set(common)
    return (list(parts), set()) if all(part.is_named_as_split for part in parts) else None


def _refuse_wrapping(part: _Part) -> None:
    """Refuse one folder alone that holds splits; warn where it may hold the classes."""
    if not part.holds_folders_alone:
        return
    inner, below = part.path, subfolders(part.path)
    while len(below) == 1 and subfolders(below[0]):
        inner, below = below[0], subfolders(below[0])
    within = shown(sorted(part.below))
    remedy = f"give --data {inner}" if below else ""
    if _has_splits(part.below) or not part.words.isdisjoint(_SPLIT_NAMES):
        raise DataError(
            f"{part.path.parent}: there is one folder alone, {part.name}, with {within} in it. "
            f"Either {part.name} is a class, or these are the splits or the classes; if so, "
            f"{remedy}; otherwise rename the folders"
        )
    if len(part.below) > 1:
        _logger.warning(
            "%s: one class, %s, whose pictures lie in %s; if these are the classes, %s",
            part.path.parent,
            part.name,
            within,
            remedy,
        )


_REMEDY_FOR_CLASSES = "name the classes in a file and give it as --classes-file"


def _split_classes(folder: Path, parts: Sequence[_Part], part: _Part) -> str:
    splits = sorted(name for name in part.below if name.lower() in _SPLIT_NAMES)
    names = shown([one.name for one in parts])
    moved = ", ".join(f"{split}/{part.name}" for split in splits[:3])
    return (
        f"{folder}: this can be read in two ways. Either {names} are classes that are split into "
        f"{shown(splits)}; if so, move the pictures into folders {moved} and so on. Or all "
        f"pictures below {part.name} are of one class, to learn from and test on; if so, rename "
        f"the folders in it, or {_REMEDY_FOR_CLASSES}"
    )


def _split_beside(folder: Path, parts: Sequence[_Part], part: _Part) -> str:
    others = shown([one.name for one in parts if one != part])
    return (
        f"{folder}: this can be read in two ways. Either {part.name} holds the classes "
        f"{shown(sorted(part.below))}, and {others} is something else; if so, take that away, or "
        f"give --data {part.path}. Or {part.name} is a class beside {others}; if so, rename it, or "
        f"{_REMEDY_FOR_CLASSES}"
    )


def _parts_of_one(folder: Path, parts: Sequence[_Part], common: set[str]) -> str:
    names = shown([part.name for part in parts])
    if not common:
        return (
            f"{folder}: this can be read in two ways. Either {names} are parts of one data set, "
            "whose pictures lie outside of class folders; if so, move each picture into a folder "
            "with its class's name, such as train/cat and test/cat. Or "
            f"they are classes; if so, rename them, or {_REMEDY_FOR_CLASSES}"
        )
    return (
        f"{folder}: this can be read in two ways. Either {names} are parts of one data set, each "
        f"with the classes {shown(sorted(common))}; if so, name the one to learn from train, the "
        "one to test on test, and take others away. Or they are the "
        "classes; if so, move their pictures out of the folders in them, or "
        f"{_REMEDY_FOR_CLASSES}"
    )
