"""Pictures that a run has learned already and that come again, under the name of a new class.

No label of such a picture can be trusted, as within one folder, where it is left out everywhere.
What was learned cannot be taken back, but the new class goes without it, and a person is told.

A file is known by its bytes, where the data of the run's earlier tasks are still at hand. Where
they are gone, a picture is known if the state has kept it as an exemplar.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil.data import ImageDataset, Split
from edgecil.data.layout import shown
from edgecil.errors import DataError
from edgecil.memory.state import State
from edgecil_devices.class_names import composed
from edgecil_devices.images import Pixels

_AT_ONCE = 256
"""Pictures that are decoded together."""


@dataclass(frozen=True)
class _Repeat:
    """A picture of a class that an earlier class has, too."""

    name: str
    """Its file."""
    class_name: str
    """The class it comes as."""
    known_as: str
    """The class that it was learned as."""


def without_known(
    new: ImageDataset,
    old: Sequence[ImageDataset | None],
    state: State,
    load_without: Callable[[Collection[str]], ImageDataset],
) -> tuple[ImageDataset, list[str]]:
    """The new classes without the pictures that the run has learned as others.

    Args:
        new: the classes to learn now.
        old: the data of the run's earlier tasks in their order; None for what is gone.
        state: what the run has learned so far.
        load_without: loads the new classes without the files of these digests, so that test
            pictures are drawn from the others alone.

    Returns:
        The data set, and what was left out, line by line; `new` itself and no lines if nothing was.

    Raises:
        DataError: a class has no picture left to learn from, or none to test on.
    """
    known: dict[str, str] = {}
    for dataset in old:
        if dataset is not None:
            known.update(_digests(dataset, state.settings.classes))
    repeats = _by_file(new, known)
    if not all(dataset and dataset.digests for dataset in old):
        repeats |= _by_exemplar(new, state, repeats)
    if not repeats:
        return new, []
    _check_classes(new, repeats)
    rid = load_without({new.digests[path] for path in repeats})
    return rid, _lines(new, list(repeats.values()))


def old_without_repeats(
    old: Sequence[ImageDataset | None], state: State
) -> list[ImageDataset | None]:
    """The data of the run's earlier tasks, each as it was once `without_known` was through with it.

    Args:
        old: as they lie there, in the order of the tasks.
        state: what the run has learned so far.
    """
    known: dict[str, str] = {}
    found: list[ImageDataset | None] = []
    for dataset in old:
        if dataset is not None:
            if repeats := _by_file(dataset, known):
                dataset = _rid(dataset, repeats)
            known.update(_digests(dataset, state.settings.classes))
        found.append(dataset)
    return found


def _digests(dataset: ImageDataset, learned: Collection[str]) -> Iterator[tuple[str, str]]:
    """The digest of every picture of a class that is learned, with the name of its class."""
    names = set(map(composed, learned))
    for split in (dataset.train, dataset.test):
        for path, label in _files(split):
            name = composed(dataset.classes[label])
            if name in names and path in dataset.digests:
                yield dataset.digests[path], name


def _files(split: Split) -> Iterator[tuple[str, int]]:
    if not isinstance(split.images, np.ndarray):
        for path, label in zip(split.images, split.labels.tolist(), strict=True):
            yield str(path), label


def _by_file(dataset: ImageDataset, known: Mapping[str, str]) -> dict[str, _Repeat]:
    """The files of a data set that are known as another class, by path."""
    repeats = {}
    for split in (dataset.train, dataset.test):
        for path, label in _files(split):
            name = composed(dataset.classes[label])
            known_as = known.get(dataset.digests.get(path, ""), name)
            if known_as != name:
                repeats[path] = _Repeat(path, name, known_as)
    return repeats


def _by_exemplar(new: ImageDataset, state: State, repeats: Collection[str]) -> dict[str, _Repeat]:
    """The files of new classes that look to the pixel like an exemplar of another class."""
    files = [file for split in (new.train, new.test) for file in _files(split)]
    files = [file for file in files if file[0] not in repeats]
    exemplars = state.exemplars
    if not files or not len(exemplars):
        return {}
    kept: dict[str, str] = {}
    labels = exemplars.labels()
    for some in _in_parts(len(labels)):
        names = [composed(state.settings.classes[label]) for label in labels[some]]
        kept.update(zip(_looks(exemplars.pixels(some)), names, strict=True))
    # Exemplars were training pictures, so that is what these are compared as.
    found = {}
    for some in _in_parts(len(files)):
        part = [files[i] for i in some]
        looks = _looks(exemplars.codec.roundtrip(_as_training(new, part).pixels()))
        for (path, label), digest in zip(part, looks, strict=True):
            name = composed(new.classes[label])
            if kept.get(digest, name) != name:
                found[path] = _Repeat(path, name, kept[digest])
    return found


def _in_parts(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, _AT_ONCE):
        yield np.arange(start, min(start + _AT_ONCE, count))


def _looks(pixels: Pixels) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest() for picture in pixels]


def _as_training(new: ImageDataset, files: Sequence[tuple[str, int]]) -> Split:
    paths = tuple(Path(path) for path, _ in files)
    labels = np.array([label for _, label in files])
    aspects = None if new.train.aspects is None else np.ones(len(files), np.float32)
    return replace(new.train, images=paths, labels=labels, aspects=aspects)


def _rid(dataset: ImageDataset, repeats: Collection[str]) -> ImageDataset:
    def rest(split: Split) -> Split:
        return split.subset([i for i, (path, _) in enumerate(_files(split)) if path not in repeats])

    return replace(dataset, train=rest(dataset.train), test=rest(dataset.test))


def _check_classes(new: ImageDataset, repeats: Mapping[str, _Repeat]) -> None:
    """Refuse classes that have too little left, by name."""
    for label, name in enumerate(new.classes):
        known = [one for one in repeats.values() if one.class_name == composed(name)]
        count = sum(int((split.labels == label).sum()) for split in (new.train, new.test))
        if known and count - len(known) < 2:
            known_as = sorted({one.known_as for one in known})
            raise DataError(
                f"{new.name}: {len(known)} of {count} pictures of the new class {name!r} are known "
                f"to the run as {shown(known_as)}, which leaves too few to learn from and to test "
                "on; give the class pictures of its own, and take these out of it"
            )


def _lines(new: ImageDataset, repeats: Sequence[_Repeat], limit: int = 10) -> list[str]:
    lines = [
        f"{new.name}: {len(repeats)} pictures that the run has learned as another class, left out "
        "of the new classes; take them away where they are wrong"
    ]
    lines += [
        f"  {repeat.name}: comes as {repeat.class_name}, learned as {repeat.known_as}"
        for repeat in sorted(repeats, key=lambda repeat: repeat.name)[:limit]
    ]
    return lines + ([f"  ... and {len(repeats) - limit} more"] if len(repeats) > limit else [])
