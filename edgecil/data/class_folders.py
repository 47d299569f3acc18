"""Where the pictures of a folder lie, and the list of classes that `--classes-file` gives.

    # ImageNet-100: one name of a class folder a line, here with remarks behind tabs
    n02124075    Egyptian cat
    n04067472    reel

In such a list a name goes to the end of the line or to a tab, after which there may be a remark.
Empty lines and lines that begin with # are skipped.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecil.errors import DataError

PICTURE_SUFFIXES = frozenset(
    {"", ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"}
)
"""Endings of the files that are read, in lower case; what counts then is what is inside."""


def read_class_list(path: Path) -> tuple[str, ...]:
    """The names in the file, in its order.

    Raises:
        DataError: the file cannot be read, names nothing, or names a class twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check --classes-file"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: this is not text in UTF-8; save it as such") from None
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.partition("\t")[0].strip()
        if not name or name.startswith("#"):
            continue
        if name in line_of:
            raise DataError(
                f"{path}: class {name!r} is in line {line_of[name]} and again in line {number}; "
                "name it once"
            )
        line_of[name] = number
    if not line_of:
        raise DataError(f"{path}: no class is named; write the name of one class folder a line")
    return tuple(line_of)


def split_roots(folder: Path) -> dict[bool | None, Path]:
    """The folders that hold class folders: for training and test, or for both together (None).

    Raises:
        DataError: there is no such folder, or its test pictures lie outside of class folders.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; check --data")
    train = folder / "train"
    if not (train.is_dir() and _subfolders(train)):
        return {None: folder}
    if {path.name for path in _subfolders(folder)} - {"train", "val", "test"}:
        return {None: folder}  # "train" is one class among others
    held_out = [folder / name for name in ("test", "val") if (folder / name).is_dir()]
    for test in held_out:
        if _subfolders(test):
            return {False: train, True: test}
    for test in held_out:
        if any(path.suffix.lower() in PICTURE_SUFFIXES - {""} for path in test.iterdir()):
            raise DataError(
                f"{test}: the pictures lie outside of class folders; move each into a folder with "
                "its class's name, as the script valprep.sh of soumith/imagenetloader.torch does "
                f"for ImageNet, or take {test.name}/ away to hold out some of train/"
            )
    return {None: train}


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
    return [path for path in entries if path.is_dir() and not path.name.startswith(".")]


def pictures_of_classes(
    root: Path, classes: Sequence[str] | None, ignored: Counter[str]
) -> Iterator[tuple[Path, str]]:
    """Every picture in the class folders of `root`, each with the name of its class.

    Args:
        root: holds the class folders.
        classes: names of those that count, None for all.
        ignored: where other files are counted by their ending.

    Raises:
        DataError: there are no class folders, or one cannot be a class.
    """
    class_folders = _subfolders(root)
    if not class_folders:
        raise DataError(
            f"{root}: there are no class folders; put the pictures of each class into a folder "
            "that has the class's name"
        )
    if classes is not None:
        wanted = set(classes)
        class_folders = [path for path in class_folders if path.name in wanted]
    for class_folder in class_folders:
        if not class_folder.name.isprintable():
            raise DataError(
                f"{root}: the folder {class_folder.name!r} has characters that no class name may "
                "have; rename it"
            )
        paths = list(_walk(class_folder, ignored))
        if not paths:
            raise DataError(
                f"{class_folder}: there is no JPEG, PNG, WebP, BMP or GIF picture in this class "
                "folder; add pictures or delete the folder"
            )
        for path in paths:
            yield path, class_folder.name


def _walk(class_folder: Path, ignored: Counter[str]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror})") from None

    for folder, subfolders, names in os.walk(class_folder, onerror=refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            suffix = Path(name).suffix.lower()
            if suffix in PICTURE_SUFFIXES:
                yield Path(folder) / name
            else:
                ignored[suffix] += 1
