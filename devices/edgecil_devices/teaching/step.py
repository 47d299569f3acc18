"""A step of teaching, from pictures as they come."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecil_devices.counting import counted
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.images import read_pixels
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.teaching.teacher import Pixels, Teacher

FEW_PICTURES = 5
"""Fewer tell a class only roughly."""

MOST_AT_ONCE = 500
"""Pictures of one step; they are in memory together."""


@dataclass(frozen=True)
class TeachingStep:
    """What a step of teaching came to."""

    label: str
    """As it is kept."""
    taught: int
    """Pictures that were added."""
    total: int
    """Pictures of the label now."""
    repeated: int
    """Pictures that were taught already, or came twice; they were not added again."""
    unreadable: tuple[tuple[str, str], ...]
    """Pictures that were left out, and why."""
    made_room: dict[str, int]
    """Pictures by label that went since the budget was full."""

    def lines(self) -> list[str]:
        """For people."""
        few = self.total < FEW_PICTURES
        advice = f"; {FEW_PICTURES} or more are surer" if few else ""
        told = [
            f"taught {self.label!r}: {counted(self.taught, 'picture')}, {self.total} now{advice}"
        ]
        if self.repeated:
            told.append(f"left out {counted(self.repeated, 'picture')} that had been taught before")
        told += [
            f"made room: {counted(count, 'picture')} of {label!r} went for good, "
            "those most like the others"
            for label, count in self.made_room.items()
        ]
        return told


def named_pictures(
    pictures: Iterable[Any], names: Sequence[str] | None = None
) -> Iterator[tuple[Any, str]]:
    """Pictures and where they came from: the given names, or their paths, or their numbers."""
    if names is not None:
        yield from zip(pictures, names, strict=True)
        return
    for number, one in enumerate(pictures, 1):
        yield one, str(one) if isinstance(one, str | Path) else f"picture {number}"


def teach_pictures(
    teacher: Teacher,
    label: str,
    pictures: Iterable[tuple[Any, str]],
    preprocessing: Preprocessing,
    budget_bytes: int | None,
) -> TeachingStep:
    """Teach pictures as they come; see `Classifier.teach`.

    Args:
        teacher: of the release.
        label: what they show, as `Teacher.require_label` gives it.
        pictures: paths, bytes, arrays or Pillow images, and where each came from.
        preprocessing: the release's.
        budget_bytes: a new bound on what is taught; None leaves it.

    Raises:
        UsageError: none can be read, too many at once, or see `Teacher.teach`.
        StoreError: see `Teacher.teach`.
    """
    read: list[tuple[Pixels, str]] = []
    unreadable: list[tuple[str, str]] = []
    for source, name in pictures:
        if len(read) == MOST_AT_ONCE:
            raise UsageError(f"more than {MOST_AT_ONCE} pictures; teach them in several steps")
        try:
            read.append((read_pixels(source, preprocessing), name))
        except ImageError as error:
            unreadable.append((name, str(error)))
    if not read:
        because = f": {unreadable[0][0]}: {unreadable[0][1]}" if unreadable else ""
        raise UsageError(f"there is no picture to teach {label!r} from{because}")
    added = teacher.teach(label, read, budget_bytes)
    return TeachingStep(
        label,
        len(added.taught),
        len(added.records.of_label(label)),
        added.repeated,
        tuple(unreadable),
        dict(Counter(one.label for one in added.made_room)),
    )
