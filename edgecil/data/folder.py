"""A folder of class folders as a data set.

Two layouts are read:

    photos/<class>/...                      a share of each class, `holdout`, is kept for the test
    photos/train/<class>/...                with val/ (or test/, which wins where both exist);
    photos/test/<class>/...                 other names they go by are in `edgecil.data.layout`

Pictures may lie in folders within a class folder, and folders may be links. The names of the class
folders in the form NFC, sorted, are the classes. Hidden files and folders are skipped, and so are
files that count as no pictures (`edgecil_devices.picture_files`); they are counted in the report. A
list of classes restricts the folder to these, in the list's order; other class folders are then not
looked into.

Every file is read and decoded once before anything is learned, and all that is wrong is reported
together: damaged files, and files with the same bytes. None of it stops the learning:

- a damaged file is left out;
- of a picture that lies several times in one class one stays: the test's, so that a published test
  stays what it is and never shows a picture that was learned, otherwise the first by path;
- a picture that lies in several classes is left out everywhere, for no label of it can be trusted.

A class that has no picture left is an error, but for classes that a run or a bundle knows already:
these alone are then read, and as far as they are there. Of what a device was taught, such a class
is left out.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecil.data.class_folders import Unread, pictures_of_classes
from edgecil.data.datasets import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LARGEST_PADDED_CROP_PX,
    ImageDataset,
    Split,
    fingerprint_of,
)
from edgecil.data.folder_report import FolderReport
from edgecil.data.held_out import HeldOut, require_share
from edgecil.data.layout import shown, split_roots, subfolders
from edgecil.data.reading import within_room
from edgecil.errors import DataError, ImageError
from edgecil.work import work
from edgecil.workers import each_on_all_cores
from edgecil_devices.class_names import composed
from edgecil_devices.images import Preprocessing, look_at
from edgecil_devices.preprocessing import FOR_PHOTOS

SMALLEST_DEFAULT_PX = 32
LARGEST_DEFAULT_PX = 224

_logger = logging.getLogger("edgecil")


@dataclass(frozen=True)
class _Picture:
    path: Path
    class_name: str
    is_test: bool | None  # None: to be drawn
    digest: str = ""  # sha256 of the file
    shorter_px: int = 0
    aspect: float = 1.0  # width over height, upright


def load_folder(
    folder: Path,
    *,
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
) -> tuple[ImageDataset, FolderReport]:
    """Read a folder of class folders; the report also goes to the log, as warnings.

    Args:
        folder: see the module's docstring.
        image_size_px: side of the square that the network sees. None takes the median of the
            pictures' shorter sides, within 32 to 224, rounded down to a multiple of 8.
        shorter_side_px: cuts a margin off the test pictures, see `Preprocessing`; it needs
            `image_size_px`. Training crops at random anyway, and keeps the margin for that. Above
            `LARGEST_PADDED_CROP_PX` it crops from whole pictures, which then come squeezed into
            the square, with their aspects.
        holdout: share of each class that is kept for the test where there is no test folder, at
            least one picture; above 0, and 1 keeps all of them for the test. The choice depends on
            the seed and the class's pictures, not on other classes or the names of files.
        seed: draws the pictures that are held out.
        held_out: how the test's pictures were drawn before; it holds in place of `seed`, and of
            `holdout` for the classes that it knows.
        classes: names of the class folders that count, in label order; None for all, sorted.
        known_classes: in place of `classes`, those that are known from an earlier reading. One
            without a folder is left out, and one may have nothing to learn from or to test on.
        without: sha256 of files that are left out.
        reading: how the files are read, see `Preprocessing`.
        taught: what a device was taught, that the folder was unpacked from. Messages about classes
            name it, and a class with too few pictures is left out, with a word.

    Returns:
        The data set, whose pictures stay files, and the report.

    Raises:
        DataError: there are no class folders or not those of `classes`, or a class that is not of
            `known_classes` has no pictures to learn from or test on.
        UsageError: the holdout or the size are out of range.
    """
    require_share(holdout)
    if image_size_px is not None:
        # Refuses impossible sizes before anything is read.
        Preprocessing(image_size_px, shorter_side_px=shorter_side_px)
    unread, is_known = Unread(), bool(known_classes)
    asked = known_classes or classes
    roots = split_roots(folder, asked or ())
    listed = [
        _Picture(path, class_name, is_test)
        for is_test, root in roots.items()
        for path, class_name in pictures_of_classes(root, asked, unread, may_lack=is_known)
    ]
    found = {composed(path.name) for root in roots.values() for path in subfolders(root)}
    classes = sorted(found) if asked is None else [*dict.fromkeys(map(composed, asked))]
    missing = [name for name in classes if name not in found]
    if missing and not is_known:
        raise DataError(
            f"{folder}: {len(missing)} of the {len(classes)} classes of the list have no folder "
            f"({shown(missing)}); check --data and --classes-file"
        )
    classes = [name for name in classes if name in found]
    _warn_of_twins(folder, classes)
    pictures, report = _inspect(folder, listed, unread)
    for line in report.lines():
        _logger.warning("%s", line)
    pictures = [picture for picture in pictures if picture.digest not in without]
    if taught:
        classes, pictures = _that_can_be_learned(taught, classes, pictures)
    pictures, drawn = _split(pictures, holdout, held_out or HeldOut(seed))
    if not is_known:
        needs_training = holdout < 1 or None not in roots  # a split takes no holdout
        _check_classes(folder, classes, pictures, needs_training=needs_training)
    size_px = image_size_px or _default_size_px(pictures)
    rules = {False: Preprocessing(size_px, reading=reading)}
    rules[True] = Preprocessing(size_px, shorter_side_px=shorter_side_px, reading=reading)
    splits = [
        _as_split(
            [p for p in pictures if p.is_test is is_test],
            classes,
            rule,
            come_whole=not is_test and size_px > LARGEST_PADDED_CROP_PX,
        )
        for is_test, rule in rules.items()
    ]
    digests = [picture.digest for picture in pictures]
    dataset = ImageDataset(
        name=taught or str(folder),
        classes=tuple(classes),
        train=splits[0],
        test=splits[1],
        image_size_px=size_px,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fingerprint=fingerprint_of(classes, *splits, digests=digests),
        held_out=drawn,
        learned=_learned(pictures, held_out) if held_out and drawn else {},
        unparted=_unparted(pictures, held_out) if held_out else (),
        digests={str(picture.path): picture.digest for picture in pictures},
        others=tuple(sorted(found.difference(classes))),
    )
    return dataset, report


def _warn_of_twins(folder: Path, classes: Sequence[str]) -> None:
    by_letters: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_letters[" ".join(name.split()).casefold()].append(name)
    for twins in by_letters.values():
        if len(twins) > 1:
            _logger.warning(
                "%s: %s are learned as two classes; if they are one, put the pictures into one "
                "folder",
                folder,
                " and ".join(map(repr, twins)),
            )


def _that_can_be_learned(
    taught: str, classes: Sequence[str], pictures: Sequence[_Picture]
) -> tuple[list[str], list[_Picture]]:
    """Of the classes that a device was taught those with two usable pictures, and their pictures.

    Raises:
        DataError: no class has two.
    """
    counts = Counter(picture.class_name for picture in pictures)
    too_few = [name for name in classes if counts[name] < 2]
    if len(too_few) == len(classes):
        raise DataError(
            f"{taught}: learning takes two usable pictures of a class or more, and no class has "
            f"two ({shown(classes)}); teach the device more of them, and export once more: edgecil "
            "taught export"
        )
    for name in too_few:
        _logger.warning(
            "%s: left out: class %r, for learning takes two usable pictures or more; it stays "
            "taught on the device",
            taught,
            name,
        )
    enough = [name for name in classes if name not in too_few]
    return enough, [picture for picture in pictures if picture.class_name in enough]


def _inspect(
    folder: Path, listed: Sequence[_Picture], unread: Unread
) -> tuple[list[_Picture], FolderReport]:
    """Read every file once; the sound and unambiguous ones come back with digest and size."""
    damaged = []
    by_digest: dict[str, list[_Picture]] = defaultdict(list)
    _logger.info("%s: looking at %d pictures", folder, len(listed))
    with work("reading pictures", len(listed)) as done:
        for picture, result in zip(listed, each_on_all_cores(_read, listed), strict=True):
            if isinstance(result, ImageError):
                damaged.append((picture.path, str(result).removeprefix(f"{picture.path}: ")))
            else:
                by_digest[result.digest].append(result)
            done(1)
    kept, copies, contradictions = [], [], []
    for same in by_digest.values():
        if len({picture.class_name for picture in same}) > 1:
            contradictions.append(tuple(picture.path for picture in same))
            continue
        stays = next((picture for picture in same if picture.is_test), same[0])
        kept.append(stays)
        copies += [(picture.path, stays.path) for picture in same if picture is not stays]
    report = FolderReport(
        folder,
        len(kept),
        tuple(damaged),
        tuple(sorted(copies)),
        tuple(sorted(contradictions)),
        dict(sorted(unread.ignored.items())),
        tuple(sorted(unread.not_followed)),
    )
    return sorted(kept, key=lambda picture: (picture.class_name, picture.path)), report


def _read(picture: _Picture) -> _Picture | ImageError:
    def looked_at(data: bytes) -> _Picture:
        width_px, height_px = look_at(data)
        return replace(
            picture,
            digest=hashlib.sha256(data).hexdigest(),
            shorter_px=min(width_px, height_px),
            aspect=width_px / height_px,
        )

    try:
        return within_room(picture.path, None, looked_at)
    except ImageError as error:
        return error


def _split(
    pictures: Sequence[_Picture], holdout: float, held_out: HeldOut
) -> tuple[list[_Picture], HeldOut | None]:
    """Decide for each picture whether it is for the test; None where no picture was to be drawn."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        if picture.is_test is None:
            by_class[picture.class_name].append(picture.digest)
    if not by_class:
        return list(pictures), None
    for class_name, digests in by_class.items():
        held_out = held_out.with_class(class_name, digests, holdout)

    def decided(picture: _Picture) -> _Picture:
        if picture.is_test is not None:
            return picture
        is_test = holdout == 1 or held_out.is_test(picture.class_name, picture.digest)
        return replace(picture, is_test=is_test)

    return [decided(picture) for picture in pictures], held_out


def _learned(pictures: Sequence[_Picture], before: HeldOut) -> Counter[str]:
    """Test pictures by class that were not the test's when the class was first seen."""
    return Counter(
        picture.class_name
        for picture in pictures
        if picture.is_test
        and picture.class_name in before.cuts
        and not before.is_test(picture.class_name, picture.digest)
    )


def _unparted(pictures: Sequence[_Picture], before: HeldOut) -> tuple[str, ...]:
    """Classes that were seen first with a test picture that is not there now."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.class_name].append(picture.digest)
    known = sorted(before.cuts.keys() & by_class)
    return tuple(name for name in known if not before.parted(name, by_class[name]))


def _check_classes(
    folder: Path, classes: Sequence[str], pictures: Sequence[_Picture], *, needs_training: bool
) -> None:
    for is_test, purpose in ((False, "learn from"), (True, "test on")):
        found = {picture.class_name for picture in pictures if picture.is_test is is_test}
        lacking = [name for name in classes if name not in found]
        if lacking and (is_test or needs_training):
            raise DataError(
                f"{folder}: no usable picture to {purpose} in {len(lacking)} of the "
                f"{len(classes)} classes ({shown(lacking)}); each needs two pictures or more, or "
                "one under train/ and one under val/; add some or delete the class's folder"
            )


def _default_size_px(pictures: Sequence[_Picture]) -> int:
    median_px = int(np.median([p.shorter_px for p in pictures] or [SMALLEST_DEFAULT_PX]))
    return min(max(median_px, SMALLEST_DEFAULT_PX), LARGEST_DEFAULT_PX) // 8 * 8


def _as_split(
    pictures: Sequence[_Picture],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    come_whole: bool,
) -> Split:
    labels = {name: label for label, name in enumerate(classes)}
    return Split(
        tuple(picture.path for picture in pictures),
        np.array([labels[picture.class_name] for picture in pictures], dtype=np.int64),
        preprocessing,
        np.array([picture.aspect for picture in pictures], np.float32) if come_whole else None,
    )
