"""What was taught, as a list: every picture, its label, and which operation brought or removed it.

Nothing here touches a file but `read` and `write`: each change gives new records, so that the
folder goes from one whole state to the next.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from edgecil_devices._json import find, get, items
from edgecil_devices.class_names import fault_of
from edgecil_devices.errors import BundleCorruptError, StoreDamagedError
from edgecil_devices.store.records import read_checked, write_checked

FORMAT = 1
"""Of the file; a newer one is refused."""

DEFAULT_BUDGET_BYTES = 4_000_000
"""What an overlay may take where nothing is said."""

MOST_PICTURES = 2000
"""More would not fit the file of records, whose size is bounded."""

_MOST_SOURCE = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TaughtPicture:
    """One picture that a person has labelled."""

    sha256: str
    """Of its file, whose name this is."""
    label: str
    """What a person says it shows."""
    correction: bool
    """Whether the release knew the label and was wrong; else it is a new class."""
    size_bytes: int
    """Of its file."""
    when: str
    """When it was taught, "2026-11-28T16:21:40Z" by the device's clock."""
    source: str
    """Where it came from, for people: a file's name, "camera", "page"."""
    added: int
    """The operation that brought it."""
    removed: int | None = None
    """The operation that removed it, as long as that can be undone."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what does not apply."""
        record: dict[str, Any] = {
            "sha256": self.sha256,
            "label": self.label,
            "size": self.size_bytes,
            "when": self.when,
            "source": self.source,
            "added": self.added,
        }
        if self.correction:
            record["correction"] = True
        return record if self.removed is None else record | {"removed": self.removed}

    @classmethod
    def from_dict(cls, record: Any) -> Self:
        """The reverse of `to_dict`.

        Raises:
            BundleCorruptError: it is not what was written.
        """
        sha256, label = get(record, "sha256", str), get(record, "label", str)
        if not _SHA256.fullmatch(sha256) or fault_of(label):
            raise BundleCorruptError("malformed sha256 or label")
        return cls(
            sha256=sha256,
            label=label,
            correction=find(record, "correction", bool) or False,
            size_bytes=get(record, "size", int),
            when=get(record, "when", str),
            source=get(record, "source", str),
            added=get(record, "added", int),
            removed=find(record, "removed", int),
        )


@dataclass(frozen=True)
class TaughtRecords:
    """All that was taught, in the order in which it was."""

    pictures: tuple[TaughtPicture, ...] = ()
    """Those that were removed, too, as long as that can be undone."""
    operation: int = 0
    """The last operation; they count from 1."""
    undoable_from: int = 1
    """The first operation that can still be undone: what older ones removed is gone."""
    budget_bytes: int = DEFAULT_BUDGET_BYTES
    """Bound on all files of the folder."""

    @property
    def present(self) -> tuple[TaughtPicture, ...]:
        """What counts now."""
        return tuple(one for one in self.pictures if one.removed is None)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of what counts now, in the order in which they were first taught."""
        return tuple(dict.fromkeys(one.label for one in self.present))

    def of_label(self, label: str) -> tuple[TaughtPicture, ...]:
        """The pictures of one label that count now."""
        return tuple(one for one in self.present if one.label == label)

    def with_pictures(self, new: Iterable[TaughtPicture]) -> Self:
        """One operation more, which brings pictures; one that was there gets its new label."""
        operation = self.operation + 1
        brought = {one.sha256: replace(one, added=operation) for one in new}
        kept = self._changed(
            lambda one: replace(one, removed=operation) if one.sha256 in brought else one
        )
        return replace(self, pictures=(*kept, *brought.values()), operation=operation)

    def without(self, taken: Callable[[TaughtPicture], bool]) -> Self:
        """One operation more, which removes the pictures for which `taken` holds."""
        operation = self.operation + 1
        changed = self._changed(lambda one: replace(one, removed=operation) if taken(one) else one)
        return replace(self, pictures=changed, operation=operation)

    @property
    def can_be_undone(self) -> bool:
        """Whether the last operation can be."""
        return self.undoable_from <= self.operation

    def undone(self) -> Self:
        """As if the last operation had not been, but for what went for good to make room for it."""
        last = self.operation
        pictures = tuple(
            replace(one, removed=None) if one.removed == last else one
            for one in self.pictures
            if one.added != last
        )
        return replace(self, pictures=pictures, operation=last - 1)

    def dropping(self, gone: Iterable[TaughtPicture]) -> Self:
        """Without pictures whose room is needed: for good, whatever removed them."""
        names = {(one.sha256, one.added) for one in gone}
        dropped = [one for one in self.pictures if (one.sha256, one.added) in names]
        kept = tuple(one for one in self.pictures if (one.sha256, one.added) not in names)
        last = max((one.removed for one in dropped if one.removed is not None), default=0)
        return replace(self, pictures=kept, undoable_from=max(self.undoable_from, last + 1))

    def _changed(
        self, change: Callable[[TaughtPicture], TaughtPicture]
    ) -> tuple[TaughtPicture, ...]:
        return tuple(change(one) if one.removed is None else one for one in self.pictures)

    def write(self, path: Path) -> None:
        """Replace the file at `path`.

        Raises:
            OSError: the disk is full or failing; the old file is untouched.
        """
        record = {
            "format": FORMAT,
            "operation": self.operation,
            "undoable_from": self.undoable_from,
            "budget": self.budget_bytes,
            "pictures": [one.to_dict() for one in self.pictures],
        }
        write_checked(path, record)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The records at `path`; none where there is no file.

        Raises:
            StoreDamagedError: the file is altered, or a newer edgecil wrote it.
        """
        try:
            record = read_checked(path)
        except FileNotFoundError:
            return cls()
        except StoreDamagedError as error:
            raise _damaged(path) from error
        try:
            if get(record, "format", int) > FORMAT:
                raise StoreDamagedError(f"{path}: made by a newer edgecil; install a newer edgecil")
            return cls(
                items(record, "pictures", lambda held, key: TaughtPicture.from_dict(held[key])),
                get(record, "operation", int),
                get(record, "undoable_from", int),
                get(record, "budget", int),
            )
        except BundleCorruptError as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> StoreDamagedError:
    return StoreDamagedError(
        f"{path} is damaged; restore it from a copy, or move {path.parent} away to begin anew "
        "(its pictures are in there, without their labels)"
    )


def shortened(source: str) -> str:
    """A source as it is kept: its end, where it is long."""
    return source if len(source) <= _MOST_SOURCE else f"...{source[3 - _MOST_SOURCE :]}"
