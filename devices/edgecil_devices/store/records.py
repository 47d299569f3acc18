"""The small files of a store that change: which release is current, and how far an update has got.

Each is one JSON object with a sha256 of its own, so that a changed byte is noticed.
"""

import errno
import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Self

from edgecil_devices._json import find, get, items, json_object
from edgecil_devices.errors import BundleCorruptError, StoreDamagedError
from edgecil_devices.files import replace_atomically

FORMAT = 2
"""Of the store, the newest that is read; a newer one is refused."""

_FORMAT_IF_TEACHING = 1
"""Of a store that may be taught. One that may not is of the next format, so that an edgecil which
knows nothing of that refuses it, and does not drop that when it writes."""

_MAX_RECORD_BYTES = 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")

_NO_DAMAGE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
"""What the system answers about files that may be sound: they are gone, not for us, or not now."""


class UpdateStage(Enum):
    """How far an update has got."""

    RECEIVED = "received"
    """The file is in memory, each blob checked against its manifest."""
    VERIFIED = "verified"
    """Its signature is by a trusted key, and it is newer than everything before."""
    STAGED = "staged"
    """The disk has all its blobs, and the state says that they are on trial."""
    TESTED = "tested"
    """Its golden samples came out right in a process of their own."""
    ACTIVE = "active"
    """Readers load it."""
    COMMITTED = "committed"
    """There is no way back but an operator's rollback: the floor is raised, its keys are taken."""
    CLEANED = "cleaned"
    """Blobs that nothing refers to are gone."""


@dataclass(frozen=True)
class Release:
    """One release in the store."""

    number: int
    """From 1; later releases have higher ones."""
    manifest: str
    """sha256 of its manifest, the name of that blob."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"release": self.number, "manifest": self.manifest}

    @classmethod
    def from_dict(cls, record: Any) -> Self:
        """The reverse of `to_dict`."""
        manifest = get(record, "manifest", str)
        if not _SHA256.fullmatch(manifest):
            raise BundleCorruptError("malformed sha256")
        return cls(get(record, "release", int), manifest)


@dataclass(frozen=True)
class Trial:
    """A release that is in the store and not committed yet.

    A crash during one is followed by another self-test, however far it had got, so there is no
    need to write down whether the first was passed.
    """

    release: Release
    """Which."""
    attempts: int
    """How often its self-test was begun; it can bring the whole device down, so this is bounded."""


@dataclass(frozen=True)
class StoreState:
    """What the updater must remember."""

    floor: int = 0
    """The highest release ever committed; nothing lower is taken."""
    keys: tuple[str, ...] | None = None
    """The trusted keys as text; None: unsigned releases are taken."""
    committed: Release | None = None
    """The release to be sure of; `current` differs from it only while a trial is active."""
    previous: Release | None = None
    """What a rollback returns to."""
    trial: Trial | None = None
    """The update under way."""
    refused: Release | None = None
    """The last release that failed its self-test; it is not fetched again."""
    refused_by: str | None = None
    """The `software` it failed with; with another it may pass, so it is fetched again."""
    teaching: bool = True
    """Whether anything may be taught beside its releases; set when the store is made."""

    def after(self, trial: Trial, keys: tuple[str, ...] | None) -> Self:
        """The state once `trial` is committed."""
        return replace(
            self,
            floor=max(self.floor, trial.release.number),
            keys=keys,
            committed=trial.release,
            previous=self.committed if self.committed != trial.release else self.previous,
            trial=None,
            refused=None,
            refused_by=None,
        )

    def write(self, path: Path) -> None:
        """Replace the file at `path`.

        Raises:
            OSError: the disk is full or failing.
        """
        record: dict[str, Any] = {
            "format": _FORMAT_IF_TEACHING,
            "floor": self.floor,
            "keys": self.keys,
            "committed": self.committed and self.committed.to_dict(),
            "previous": self.previous and self.previous.to_dict(),
            "refused": self.refused and self.refused.to_dict(),
            "trial": None,
        }
        if self.refused_by is not None:  # left aside by an edgecil that knows nothing of it
            record["refused_by"] = self.refused_by
        if trial := self.trial:
            record["trial"] = trial.release.to_dict() | {"attempts": trial.attempts}
        if not self.teaching:
            record |= {"format": FORMAT, "teaching": False}
        write_checked(path, record)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The state at `path`.

        Raises:
            StoreDamagedError: it is altered or gone, or a newer edgecil wrote it.
        """
        try:
            record = read_checked(path)
        except FileNotFoundError as error:  # every store begins with it, so it was there
            raise StoreDamagedError(
                f"{path} is missing; install a whole bundle into a new store"
            ) from error
        try:
            if get(record, "format", int) > FORMAT:
                raise StoreDamagedError(f"{path}: made by a newer edgecil; install a newer edgecil")
            texts = None if record.get("keys") is None else items(record, "keys", _text)
            trial = find(record, "trial", dict)
            return cls(
                floor=get(record, "floor", int),
                keys=texts,
                committed=_release(record, "committed"),
                previous=_release(record, "previous"),
                trial=Trial(Release.from_dict(trial), get(trial, "attempts", int))
                if trial
                else None,
                refused=_release(record, "refused"),
                refused_by=find(record, "refused_by", str),
                teaching=find(record, "teaching", bool) is not False,
            )
        except BundleCorruptError as error:
            raise damaged(path) from error


def write_checked(path: Path, record: dict[str, Any]) -> None:
    """Replace the file at `path` by a JSON object and its sha256.

    Raises:
        OSError: the disk is full or failing; the old file is still there, or the new one.
    """
    replace_atomically(path, _json(record | {"check": _check(record)}) + b"\n")


def read_checked(path: Path) -> dict[str, Any]:
    """What `write_checked` wrote.

    Raises:
        StoreDamagedError: a byte of it has changed or lies in a bad sector.
        FileNotFoundError: there is none.
    """
    data = read_bounded(path, _MAX_RECORD_BYTES, damaged(path))
    try:
        record = json_object(data)
    except (ValueError, TypeError) as error:
        raise damaged(path) from error
    check = record.pop("check", None)
    # The very bytes, not only their meaning: every change is one.
    if check != _check(record) or data != _json(record | {"check": check}) + b"\n":
        raise damaged(path)
    return record


def read_bounded(path: Path, most_bytes: int, damage: StoreDamagedError) -> bytes:
    """What is in a file of the store, or one byte more than the most where it is longer.

    Args:
        path: of the file.
        most_bytes: that it should have.
        damage: what to raise where the disk has it and does not give it back.

    Raises:
        StoreDamagedError: `damage`.
        OSError: there is no such file, or it may not be read, or not now.
    """
    try:
        with path.open("rb") as file:
            # Asking for more than there is would take as much memory.
            return file.read(min(most_bytes, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        if error.errno in _NO_DAMAGE:
            raise
        raise damage from error


def damaged(
    path: Path, remedy: str = "install a whole bundle into a new store"
) -> StoreDamagedError:
    """The error for a file of the store that is not what was written."""
    return StoreDamagedError(f"{path} is damaged; {remedy}")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _check(record: dict[str, Any]) -> str:
    return hashlib.sha256(_json(record)).hexdigest()


def _release(record: dict[str, Any], key: str) -> Release | None:
    found = find(record, key, dict)
    return None if found is None else Release.from_dict(found)


def _text(record: Any, key: str) -> str:
    return get(record, key, str)
