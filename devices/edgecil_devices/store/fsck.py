"""The verb `fsck`: every byte of a store is checked, and nothing changed."""

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgecil_devices.errors import (
    BundleError,
    BundleVersionError,
    StoreDamagedError,
    StoreError,
)
from edgecil_devices.output import typed
from edgecil_devices.store._verbs import StoreRequest
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.reading import read_release
from edgecil_devices.store.records import Release, StoreState
from edgecil_devices.teaching.overlay import Overlay


def run(request: StoreRequest) -> int:
    """Print what is damaged, and what puts it right; 1 if anything is."""
    problems = check(request.store)
    for problem in problems:
        print(problem.what)
    for number in sorted({problem.release for problem in problems if problem.release}):
        print(
            f"to repair: edgecil install BUNDLE --store {typed(request.store)}, "
            f"with the whole bundle of release {number}",
            file=sys.stderr,
        )
    if not problems:
        print(f"{request.store}: sound")
    return 1 if problems else 0


@dataclass(frozen=True)
class Problem:
    """Something in a store that is not what was written."""

    what: str
    """For people."""
    release: int | None = None
    """The release that it belongs to, whose whole bundle puts it right."""


def check(store: Path) -> list[Problem]:
    """Everything in a store that is not what was written.

    Raises:
        StoreError: there is no store.
    """
    folder = Folder(store)
    folder.require()
    overlay = Overlay(store)
    while True:
        before = _state_bytes(folder), overlay.version()
        problems = _problems(folder, overlay)
        # An update or teaching that ends meanwhile may take away what is being read.
        if (_state_bytes(folder), overlay.version()) == before:
            return problems


def _problems(folder: Folder, overlay: Overlay) -> list[Problem]:
    problems = []
    releases: set[Release | None] = set()
    state: StoreState | None = None
    is_missing = False
    try:
        current = folder.current()
        is_missing = current is None
        releases.add(current)
    except StoreDamagedError as error:
        problems.append(Problem(str(error)))
    try:
        state = StoreState.read(folder.state_file)
        releases |= {state.committed, state.previous}
        if is_missing and state.committed:
            problems.append(Problem(str(folder.without_current()), state.committed.number))
    except StoreDamagedError as error:
        problems.append(Problem(str(error)))
    if state is None or state.teaching:
        problems += map(Problem, overlay.problems())
    problems += _problems_of(folder, releases)
    # Without its state a store takes nothing, so that no bundle puts anything right.
    return problems if state else [replace(problem, release=None) for problem in problems]


def _problems_of(folder: Folder, releases: set[Release | None]) -> list[Problem]:
    """What is damaged of these releases' blobs."""
    problems = []
    for release in releases:
        if release is None:
            continue
        try:
            read_release(folder.path, release)
        except BundleVersionError as error:  # of a newer edgecil: its bundle would not help
            problems.append(Problem(f"release {release.number}: {error}"))
        except (StoreError, BundleError) as error:
            problems.append(Problem(f"release {release.number}: {error}", release.number))
    return problems


def _state_bytes(folder: Folder) -> bytes | None:
    """None where it cannot be read, which is a problem like others."""
    with suppress(OSError):
        return folder.state_file.read_bytes()
    return None
