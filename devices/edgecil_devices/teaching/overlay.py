"""The folder with what was taught, beside a bundle or in a store: pictures, and the list of them.

    taught.json        labels and operations; see `records`
    pictures/<sha256>  each picture as the network sees it, encoded
    features           of these pictures, for one release; made anew where it is not of this one
    lock               who is teaching

Pictures reach the disk before the list that names them, and are deleted after the list that no
longer does. So whatever stops a change, the folder holds what it held or what it was to hold.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from edgecil_devices.errors import StoreDamagedError, UsageError
from edgecil_devices.files import make_folder, sync_folder
from edgecil_devices.store.folder import (
    TAUGHT,
    Folder,
    held_alone,
    remove_files,
    require_room,
    write_errors,
    write_files,
)
from edgecil_devices.store.records import StoreState
from edgecil_devices.teaching.records import TaughtPicture, TaughtRecords, shortened
from edgecil_devices.teaching.room import Useless, within_budget

_LEFTOVER = re.compile(r"\.(taught\.json|features)\.\d+|\.[0-9a-f]{64}")


@dataclass(frozen=True)
class NewPicture:
    """A picture that is to be taught."""

    data: bytes
    """Encoded as it will be kept."""
    source: str
    """Where it came from, for people."""

    @property
    def sha256(self) -> str:
        """The name of its file."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Added:
    """What one operation of teaching came to."""

    records: TaughtRecords
    """All that is taught now."""
    taught: tuple[TaughtPicture, ...]
    """The pictures that it brought."""
    repeated: int
    """Pictures that had been taught with this label before, or came twice."""
    made_room: tuple[TaughtPicture, ...]
    """Pictures that counted until now and went, since the budget was full."""


class Overlay:
    """What was taught beside one bundle or store.

    Args:
        path: the bundle's file, or the store's folder.
    """

    def __init__(self, path: str | Path) -> None:
        path, store = Path(path), Folder(Path(path))
        self._store = store if store.exists else None
        self.folder = path / TAUGHT if self._store else path.parent / f"{path.name}.taught"
        self.records_file = self.folder / "taught.json"
        self.features_file = self.folder / "features"
        self._pictures = self.folder / "pictures"

    @property
    def exists(self) -> bool:
        """Whether anything was ever taught."""
        return self.records_file.exists()

    @cached_property
    def allowed(self) -> bool:
        """Whether what is taught has a say: not in a store that was made with --no-teach.

        Raises:
            StoreDamagedError: the store's state is altered.
        """
        return self._store is None or StoreState.read(self._store.state_file).teaching

    def require_allowed(self) -> None:
        """Check that teaching is allowed here.

        Raises:
            UsageError: the store was made with --no-teach.
            StoreDamagedError: the store's state is altered.
        """
        if not self.allowed:
            raise UsageError(
                f"{self.folder.parent} was made with --no-teach, so its releases alone answer; "
                "teach beside a bundle's file, or in a new store without --no-teach"
            )

    def version(self) -> tuple[int, int, int] | None:
        """Changes whenever the records do; None where there are none."""
        try:
            found = os.stat(self.records_file)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def records(self) -> TaughtRecords:
        """What is taught now.

        Raises:
            StoreDamagedError: the list is altered.
        """
        return TaughtRecords.read(self.records_file)

    def picture(self, one: TaughtPicture) -> bytes:
        """The file of a picture, every byte of it checked.

        Raises:
            StoreDamagedError: it is altered or missing.
        """
        path = self._pictures / one.sha256
        try:
            with path.open("rb") as file:
                data = file.read(one.size_bytes + 1)
        except OSError as error:
            raise _damaged_picture(path, one) from error
        if hashlib.sha256(data).hexdigest() != one.sha256:
            raise _damaged_picture(path, one)
        return data

    @contextmanager
    def changing(self) -> Iterator[TaughtRecords]:
        """Hold the overlay alone; what a crash left is put right first.

        Yields:
            What is taught now.

        Raises:
            StoreBusyError: another process is teaching.
            StoreWriteError: the folder cannot be written.
            StoreDamagedError: the list is altered.
        """
        if not (self.exists and self._pictures.exists()):
            with write_errors(self.folder):
                make_folder(self.folder)
                make_folder(self._pictures)
        with held_alone(self.folder, "the bundle"):
            records = self.records()
            with write_errors(self.folder):
                # A killed teacher may not have come to this, and no picture may be deleted before
                # the disk has the list that no longer names it.
                sync_folder(self.folder)
                self._collect(records)
            yield records

    def add(
        self,
        pictures: list[NewPicture],
        label: str,
        *,
        correction: bool,
        useless: Useless,
        feature_bytes: int,
        budget_bytes: int | None = None,
    ) -> Added:
        """Teach pictures: all of them or, where there is no room for them, none.

        Args:
            pictures: of one label.
            label: what they show.
            correction: whether the release knows the label.
            useless: says which pictures go first where the budget is full.
            feature_bytes: what the features of a picture take in the file of features.
            budget_bytes: a new bound on all files of the folder; None leaves it as it is.

        Raises:
            UsageError: the pictures alone are above the budget.
            StoreError: see `changing`.
        """
        with self.changing() as kept:
            before = kept
            if budget_bytes is not None:
                before = replace(kept, budget_bytes=budget_bytes)
            # What was taught before a release knew the label stands for nothing since then.
            known = {
                one.sha256 for one in before.of_label(label) if one.correction or not correction
            }
            new = {one.sha256: one for one in pictures if one.sha256 not in known}
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            taught = tuple(
                TaughtPicture(sha, label, correction, len(one.data), now, shortened(one.source), 0)
                for sha, one in new.items()
            )
            after = before.with_pictures(taught) if taught else before
            after, made_room = within_budget(after, useless, feature_bytes)
            if after != kept:
                self._write(after, {sha: one.data for sha, one in new.items()})
            brought = tuple(one for one in after.present if one.added == after.operation)
            repeated = len(pictures) - len(new)
            return Added(after, brought if taught else (), repeated, made_room)

    def forget(self, label: str) -> tuple[TaughtPicture, ...]:
        """Forget what was taught with a label, so that it can be undone; what that was.

        Raises:
            UsageError: nothing was.
            StoreError: see `changing`.
        """
        with self.changing() as records:
            gone = records.of_label(label)
            if not gone:
                raise UsageError(f"nothing was taught as {label!r}; {_labels_in_words(records)}")
            self._write(records.without(lambda one: one.label == label), {})
            return gone

    def undo(self) -> None:
        """Take back the last operation.

        Raises:
            UsageError: there is none that can be.
            StoreError: see `changing`.
        """
        with self.changing() as records:
            if not records.can_be_undone:
                raise UsageError(
                    "there is nothing to undo"
                    if records.operation == 0
                    else "what the last step removed was needed for room; it cannot be undone"
                )
            self._write(records.undone(), {})

    def _write(self, records: TaughtRecords, contents: Mapping[str, bytes]) -> None:
        """Make `records` what is taught.

        Args:
            records: with at least the pictures of `contents`.
            contents: files by sha256, those that are there already too.
        """
        with write_errors(self.folder):
            if contents:
                require_room(self.folder, contents)
                write_files(self._pictures, contents)
            records.write(self.records_file)
            self._collect(records)

    def _collect(self, records: TaughtRecords) -> None:
        """Delete what no record names and no change needs any more."""
        wanted = {one.sha256 for one in records.pictures}
        for folder in (self.folder, self._pictures):
            garbage = [
                name
                for name in os.listdir(folder)
                if _LEFTOVER.fullmatch(name) or (folder == self._pictures and name not in wanted)
            ]
            remove_files(folder, garbage)

    def problems(self) -> list[str]:
        """Everything that is not what was written, a line each."""
        if not self.exists:
            return []
        try:
            records = self.records()
        except StoreDamagedError as error:
            return [str(error)]
        found = []
        for one in records.present:
            try:
                self.picture(one)
            except StoreDamagedError as error:
                found.append(str(error))
        return found


def _labels_in_words(records: TaughtRecords) -> str:
    if not records.labels:
        return "nothing is taught here"
    return f"what is taught: {', '.join(records.labels)}"


def _damaged_picture(path: Path, one: TaughtPicture) -> StoreDamagedError:
    return StoreDamagedError(
        f"{path}, a picture of {one.label!r}, is damaged; it is left out, and the others count; "
        "restore the file if you have a copy"
    )
