"""The verb `teach`: pictures of one thing, and the device knows it from then on."""

import json
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecil_devices.errors import UsageError
from edgecil_devices.options import BUNDLE, JSON, THREADS, described, option
from edgecil_devices.sizes import parse_bytes

if TYPE_CHECKING:
    from edgecil_devices.classifier import Classifier
    from edgecil_devices.teaching.step import TeachingStep

DEFAULT_COUNT = 20
"""Frames of a camera: with so many a class is told nearly as well as it ever will be."""

_NO_PICTURE = "there is no picture to teach from; give files, a folder or camera"


@dataclass(frozen=True)
class TeachRequest:
    """What one call of `teach` asks for.

    Raises:
        UsageError: the values cannot be.
    """

    bundle: Path = field(metadata=BUNDLE)
    sources: tuple[str, ...] = option(
        (),
        "Files, folders, quoted patterns, addresses; or alone: camera, camera:N (USB), csi, csi:N.",
        argument=True,
        metavar="PHOTO",
    )
    label: str = field(
        kw_only=True, metadata=described("What they all show; again, it adds pictures.")
    )
    correct: bool = option(
        False, "The release knows the label, and took these pictures for something else."
    )
    count: int = option(DEFAULT_COUNT, "Frames to take from a camera.")
    budget: str | None = option(
        None,
        "A new bound on all that is taught here: 4MB, 500kB, a number of bytes.",
        shown_default="as it was; at first 4MB",
    )
    threads: int | None = field(default=None, metadata=THREADS)
    json: bool = field(default=False, metadata=JSON)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--count must be at least 1, not {self.count}")
        if self.budget is not None:
            parse_bytes(self.budget)


def run(request: TeachRequest) -> int:
    """Teach, and say what that came to.

    Returns:
        The exit code: 0; 1 if a picture was left out since it cannot be read.

    Raises:
        UsageError: an impossible label or budget, no readable picture, or a store with --no-teach.
        StoreError: what is taught cannot be written or is damaged; nothing has changed.
    """
    from edgecil_devices.classifier import Classifier
    from edgecil_devices.teaching.overlay import Overlay

    if not request.sources:
        raise UsageError(_NO_PICTURE)
    Overlay(request.bundle).require_allowed()
    unreadable: list[tuple[str, str]] = []
    classifier = Classifier.load(request.bundle, request.threads)
    step = _taught(request, classifier, unreadable)
    unreadable += step.unreadable
    for name, why in unreadable:
        print(f"left out {name}: {why}", file=sys.stderr)
    if request.json:
        print(json.dumps(asdict(step) | {"unreadable": unreadable}, allow_nan=False))
    else:
        print("\n".join(step.lines()))
    return int(bool(unreadable))


def _taught(
    request: TeachRequest, classifier: "Classifier", unreadable: list[tuple[str, str]]
) -> "TeachingStep":
    """Teach the pictures, each read in its turn and let go: their files may be large together."""
    names: list[str] = []  # grows as the pictures are read, just before each name is asked for
    budget_bytes = None if request.budget is None else parse_bytes(request.budget)
    with closing(_pictures(request, names, unreadable)) as pictures:
        # That there is none is told before whatever else may be wrong, so the first is read here.
        # An iterator lets go of it afterwards; chain would keep a list.
        begun = chain(iter(list(islice(pictures, 1))), pictures)
        if not names and unreadable:
            name, why = unreadable[0]
            raise UsageError(f"there is no picture to teach from: {name}: {why}")
        if not names:
            raise UsageError(_NO_PICTURE)
        if request.correct:
            return classifier.correct(begun, request.label, names=names, budget_bytes=budget_bytes)
        return classifier.teach(request.label, begun, names=names, budget_bytes=budget_bytes)


def _pictures(
    request: TeachRequest, names: list[str], unreadable: list[tuple[str, str]]
) -> Generator[Any, None, None]:
    """Undecoded pictures, of a camera `count` frames; their names, and what is none, are added."""
    from edgecil_devices.sources import Unreadable, is_endless, pictures_of

    endless = is_endless(request.sources, None)
    if not endless and request.count != DEFAULT_COUNT:
        raise UsageError("--count is for the frames of a camera; of files all are taken")
    items = pictures_of(request.sources, None)
    for item in islice(items, request.count if endless else None):
        if isinstance(item, Unreadable):
            unreadable.append((item.name, item.error))
        else:
            names.append(item.name)
            yield item.data
