"""Pictures, classes and tasks to learn from."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from edgecil.data.cifar100 import CIFAR100
from edgecil.data.class_folders import read_class_list
from edgecil.data.datasets import ImageDataset, Split
from edgecil.data.folder import load_folder
from edgecil.data.folder_report import FolderReport
from edgecil.data.glyphs import GLYPHS
from edgecil.data.held_out import HeldOut, require_share
from edgecil.data.scenario import Scenario, Task, class_increments, read_tasks
from edgecil.errors import UsageError
from edgecil_devices.preprocessing import FOR_PHOTOS

__all__ = [
    "DATASETS",
    "FolderReport",
    "HeldOut",
    "ImageDataset",
    "Scenario",
    "Split",
    "Task",
    "class_increments",
    "default_data_dir",
    "is_here",
    "load_dataset",
    "load_folder",
    "located",
    "not_found",
    "read_class_list",
    "read_tasks",
]

DATASETS = {built_in.name: built_in for built_in in (CIFAR100, GLYPHS)}
"""The data sets with a name: how each is loaded, whether it is here, what is known of it."""


def load_dataset(
    data: str,
    *,
    data_dir: Path | None = None,
    image_size_px: int | None = None,
    shorter_side_px: int | None = None,
    holdout: float = 0.2,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    held_out: HeldOut | None = None,
    known_classes: Sequence[str] = (),
    without: Collection[str] = (),
    reading: str = FOR_PHOTOS,
    taught: str = "",
) -> ImageDataset:
    """Load a data set by its name, or a folder of pictures.

    What is wrong with the pictures of a folder goes to the log, before this returns.

    Args:
        data: a name of `DATASETS`, or the path of a folder of class folders ("./glyphs" is one).
        data_dir: where downloaded data are and go; None means the environment variable
            EDGECIL_DATA, and ~/.cache/edgecil where it is not set.
        image_size_px: side of the square that the network sees; None lets the data decide.
        shorter_side_px: cuts a margin off a folder's test pictures; None for no margin.
        holdout: share of each class that is kept for the test, where a folder has no test folder.
        seed: draws the glyphs and the pictures that are held out.
        classes: class folders of a folder that count, in label order; None for all.
        held_out: how a folder's test pictures were drawn when it was learned; it holds in place of
            `seed` and `holdout`.
        known_classes: classes of a folder that alone are read, as far as they are there, see
            `load_folder`.
        without: sha256 of files of a folder that are left out.
        reading: how a folder's files are read, see `Preprocessing`.
        taught: what a device was taught, that a folder was unpacked from, see `load_folder`.

    Raises:
        UsageError: there is no data set and no folder of that name, or an option cannot be.
        DataError: the data cannot be had, or cannot be learned from.
        MissingExtraError: the data set needs packages that are not installed.
    """
    if data in DATASETS:
        require_share(holdout)  # which a run keeps, though it means nothing here
        if classes is not None:
            raise UsageError(f"--classes-file is for folders, and {data} is none; leave it out")
        return DATASETS[data].load(data_dir or default_data_dir(), image_size_px, seed)
    if _is_folder(data):
        dataset, _ = load_folder(
            Path(data),
            image_size_px=image_size_px,
            shorter_side_px=shorter_side_px,
            holdout=holdout,
            seed=seed,
            classes=classes,
            held_out=held_out,
            known_classes=known_classes,
            without=without,
            reading=reading,
            taught=taught,
        )
        return dataset
    raise not_found(data)


def not_found(data: str) -> UsageError:
    """What is said where `data` is neither a data set nor a folder."""
    return UsageError(
        f"there is no data set and no folder {data!r}; "
        f"give {', '.join(sorted(DATASETS))} or the path of a folder of class folders"
    )


def is_here(data: str, data_dir: Path | None = None) -> bool:
    """Whether `data` can be had without a download: a folder, or a built-in data set that is here.

    Args:
        data: as for `load_dataset`.
        data_dir: likewise.
    """
    if data in DATASETS:
        return DATASETS[data].is_here(data_dir or default_data_dir())
    return _is_folder(data)


def _is_folder(data: str) -> bool:
    """Whether `data` is the path of a folder, which "" is not, though `Path` has it so."""
    return bool(data) and Path(data).is_dir()


def located(data: str) -> str:
    """The name of a built-in data set as it is, else the folder's path from the root on.

    Links are left as they are: a person who moves the pictures moves the link.
    """
    return data if data in DATASETS else str(Path(data).absolute())


def default_data_dir() -> Path:
    """Where built-in data sets are when nothing is said."""
    folder = os.environ.get("EDGECIL_DATA")
    return Path(folder) if folder else Path.home() / ".cache" / "edgecil"
