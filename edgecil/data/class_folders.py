"""Where the pictures of a folder lie, and the list of classes that `--classes-file` gives.

    # ImageNet-100: one name of a class folder a line, here with remarks behind tabs
    n02124075    Egyptian cat
    n04067472    reel

In such a list a name goes to the end of the line or to a tab, after which there may be a remark.
Empty lines and lines that begin with # are skipped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecil.data.layout import subfolders, visible_entries
from edgecil.errors import DataError
from edgecil_devices.class_names import composed, fault_of
from edgecil_devices.picture_files import (
    Reason,
    Skipped,
    files_below,
    is_folder,
    is_picture_file,
    leads_nowhere,
)


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
        name = composed(line.partition("\t")[0].strip())
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


@dataclass
class Unread:
    """What was met in class folders and not read."""

    ignored: Counter[str] = field(default_factory=Counter)
    """Number of files that count as no pictures, by their ending."""
    not_followed: list[tuple[Path, str]] = field(default_factory=list)
    """Links that lead nowhere or in a circle, with the reason."""


def pictures_of_classes(
    root: Path, classes: Sequence[str] | None, unread: Unread, *, may_lack: bool = False
) -> Iterator[tuple[Path, str]]:
    """Every picture in the class folders of `root`, each with the name of its class.

    Args:
        root: holds the class folders.
        classes: names of those that count, None for all.
        unread: takes what is not read.
        may_lack: whether a class folder may be without pictures.

    Raises:
        DataError: there are no class folders, or one cannot be a class.
    """
    class_folders = subfolders(root)
    unread.not_followed += _lost_links(root, class_folders)
    if not class_folders:
        raise DataError(
            f"{root}: there are no class folders; put the pictures of each class into a folder "
            "that has the class's name"
        )
    if classes is not None:
        wanted = set(map(composed, classes))
        class_folders = [path for path in class_folders if composed(path.name) in wanted]
    for class_folder in class_folders:
        if fault := fault_of(composed(class_folder.name)):
            raise DataError(
                f"{root}: the folder {class_folder.name!r} cannot be a class, for its name is not "
                f"allowed: {fault}; rename it"
            )
        paths = list(_walk(class_folder, unread))
        if not paths and not may_lack:
            raise DataError(
                f"{class_folder}: there is no JPEG, PNG, WebP, BMP, GIF, HEIC or AVIF picture in "
                "this class folder; add pictures or delete the folder"
            )
        for path in paths:
            yield path, composed(class_folder.name)


def _walk(class_folder: Path, unread: Unread) -> Iterator[Path]:
    for file in files_below(class_folder):
        if isinstance(file, Skipped):
            if file.reason is Reason.CLOSED:
                raise DataError(f"{file.path}: cannot be listed ({file.detail})")
            unread.not_followed.append((Path(file.path), str(file)))
        elif is_picture_file(file):
            yield Path(file)
        else:
            unread.ignored[Path(file).suffix.lower()] += 1


def _lost_links(root: Path, class_folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Links among the class folders that are none, for they lead nowhere or back."""
    names = {path.name for path in class_folders}
    for entry in visible_entries(root):
        if entry.is_symlink() and entry.name not in names:
            if is_folder(entry):
                yield root / entry.name, Reason.CIRCLE.value
            elif leads_nowhere(entry):
                yield root / entry.name, Reason.NOWHERE.value
