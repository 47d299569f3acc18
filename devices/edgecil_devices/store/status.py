"""The verb `status`: what a store holds, without changing it."""

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgecil_devices.counting import counted
from edgecil_devices.errors import StoreError
from edgecil_devices.options import JSON
from edgecil_devices.store._verbs import StoreRequest
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.reading import read_current
from edgecil_devices.store.records import StoreState

_DAY_S = 86_400


@dataclass(frozen=True)
class Status:
    """What a store holds."""

    store: str
    """Its folder."""
    release: int
    """The number of the release that readers get."""
    manifest: str
    """sha256 of its manifest."""
    classes: int
    """That it knows."""
    tasks: int
    """That it has learned."""
    age_days: float | None
    """Since it became current, by this device's clock; None where the file that tells is lost."""
    expires: str | None
    """When it should have been followed by another, if it says so."""
    expired: bool
    """Whether that has passed, by this device's clock; then updates do not arrive."""
    previous: int | None
    """The release that a rollback returns to."""
    floor: int
    """The highest release that was ever committed; nothing lower is taken."""
    on_trial: int | None
    """The release of an update that was cut short; the next one finishes or undoes it."""
    refused: int | None
    """The last release that failed its self-test here."""
    keys: tuple[str, ...] | None
    """The trusted keys; None: unsigned releases are taken."""
    teaching: bool
    """Whether anything may be taught beside its releases."""
    size_bytes: int
    """Of all blobs."""
    warning: str | None
    """Why the release is not the current one, if it is not."""

    def lines(self) -> list[str]:
        """For people."""
        previous = "none" if self.previous is None else f"release {self.previous}"
        age = "since an unknown day" if self.age_days is None else f"for {self.age_days:.1f} days"
        lines = [
            f"{self.store}: release {self.release}, {counted(self.classes, 'class')}, "
            f"{counted(self.tasks, 'task')}",
            f"current {age}; previous: {previous}; newest ever: release {self.floor}",
            f"blobs: {self.size_bytes} bytes",
        ]
        trusted = "anyone, also unsigned" if self.keys is None else ", ".join(self.keys)
        lines.append(f"takes releases by: {trusted}")
        taught = "yes" if self.teaching else "no, it was made with --no-teach"
        lines.append(f"can be taught: {taught}")
        if self.on_trial is not None:
            lines.append(f"release {self.on_trial} is on trial; the next update finishes it")
        if self.refused is not None:
            lines.append(f"release {self.refused} failed its self-test")
        if self.expired:
            lines.append(f"warning: it expired on {self.expires}; do updates still arrive?")
        if self.warning:
            lines.append(f"warning: {self.warning}")
        return lines


@dataclass(frozen=True)
class StatusRequest(StoreRequest):
    """What one call of `status` asks for."""

    json: bool = field(default=False, metadata=JSON)


def run(request: StatusRequest) -> None:
    """Print what a store holds.

    Raises:
        StoreError: there is no store, no release in it, or none that is sound.
    """
    status = read_status(request.store)
    if request.json:
        print(json.dumps(asdict(status), allow_nan=False))
    else:
        print("\n".join(status.lines()))


def read_status(store: Path) -> Status:
    """What a store holds.

    Raises:
        StoreError: there is no store, no release in it, or none that is sound.
    """
    folder = Folder(store)
    reading = read_current(store)
    state = StoreState.read(folder.state_file)
    manifest = reading.bundle.manifest
    try:
        size_bytes = sum(path.stat().st_size for path in folder.blobs.iterdir())
    except OSError as error:
        raise StoreError(f"{store} is changing; ask again") from error
    return Status(
        store=str(store),
        release=reading.release.number,
        manifest=reading.release.manifest,
        classes=len(manifest.classes),
        tasks=len(manifest.tasks),
        age_days=_age_days(folder.current_file),
        expires=manifest.expires,
        expired=manifest.expires is not None
        and manifest.expires < datetime.now(UTC).date().isoformat(),
        previous=state.previous.number if state.previous else None,
        floor=state.floor,
        on_trial=state.trial.release.number if state.trial else None,
        refused=state.refused.number if state.refused else None,
        keys=state.keys,
        teaching=state.teaching,
        size_bytes=size_bytes,
        warning=reading.warning,
    )


def _age_days(current_file: Path) -> float | None:
    try:
        changed_s = current_file.stat().st_mtime
    except FileNotFoundError:
        return None
    return round((time.time() - changed_s) / _DAY_S, 3)
