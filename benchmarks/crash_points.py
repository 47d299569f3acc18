"""A store's verbs are ended or failed at each of their system calls, one run a call.

Claim: whichever write, fsync, rename, unlink, mkdir or lock of `install`, `update` and `rollback`
is the last thing the process does, or fails, the store afterwards holds the old release or the new
one, whole; a reader gets it at once; and the next updater finishes or undoes the rest, without
repair.

    python benchmarks/crash_points.py FIRST.edgecil NEXT.update

The verbs run as on a device, `python -m edgecil_devices`, with the self-test in a child process,
under strace, which kills the process at the N-th call of a kind or lets that call fail, for N = 1,
2, ... until there is no N-th call. strace counts for each process alone, and Python's own calls
count too. Needs strace and the right to trace. The same for every recorded operation, with what a
power cut may lose or reorder, is in `tests/devices/store/test_crashes.py`; training's state and
files that are replaced, as export does, in `tests/crash`. Results: `results/crash_points.json`.
"""

import argparse
import itertools
import json
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecil_devices.errors import EdgecilError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.fsck import check
from edgecil_devices.store.install import install
from edgecil_devices.store.reading import read_current, read_release
from edgecil_devices.store.records import Release
from edgecil_devices.store.update import update
from edgecil_devices.store.updating import Updater

CALLS = ("write", "fsync", "rename", "unlink", "mkdir", "flock")
FAULTS = [
    *((call, "signal=KILL") for call in CALLS),
    ("write", "error=ENOSPC"),
    ("fsync", "error=EIO"),
    ("rename", "error=EIO"),
    ("unlink", "error=EROFS"),
    ("mkdir", "error=EACCES"),
]
MOST = 200
"""Calls of one kind; more would be a loop."""


@dataclass(frozen=True)
class Verb:
    """What is run, on which store, and what may come of it."""

    name: str
    arguments: tuple[str, ...]
    before: Path
    """Copied for every run; a folder that does not exist stands for no store."""
    old: int | None
    new: int


def passes(store: Path, release: Release) -> str | None:
    """A self-test that only reads: what is tried here is what has been written."""
    try:
        read_release(store, release)
    except EdgecilError as error:
        return str(error)
    return None


def run(verb: Verb, store: Path, call: str, fault: str, number: int) -> bool:
    """Run a verb with one fault; whether there was such a call."""
    command = [
        *("strace", "-f", "-qq", "-o", str(store.with_name("trace")), "-e", f"trace={call}"),
        *("-e", f"inject={call}:{fault}:when={number}"),
        *(sys.executable, "-m", "edgecil_devices", *verb.arguments, "--store", str(store)),
    ]
    subprocess.run(command, capture_output=True, check=False, timeout=300)
    trace = store.with_name("trace").read_text(errors="replace")
    return "INJECTED" in trace or "killed by SIGKILL" in trace


def current(store: Path) -> int | None:
    """What a reader gets, which must be whole and current."""
    if not Folder(store).exists or not (store / "current").exists():
        return None
    reading = read_current(store)
    if reading.warning:
        raise EdgecilError(reading.warning)
    return reading.release.number


def require_working(verb: Verb, store: Path) -> int | None:
    """Read, recover, check; which release the reader got before anything was recovered.

    Raises:
        EdgecilError: something is not as it must be.
    """
    found = current(store)
    if found not in (verb.old, verb.new):
        raise EdgecilError(f"release {found} is current")
    if Folder(store).exists:
        with Folder(store).locked():
            Updater(Folder(store), passes)
        if problems := check(store):
            raise EdgecilError(problems[0])
        if current(store) not in (verb.old, verb.new):
            raise EdgecilError(f"release {current(store)} is current after recovery")
    return found


def points(verb: Verb, folder: Path) -> Iterator[tuple[str, str, int, int | None]]:
    """Every fault at every call: which, the how manieth, and what the reader got."""
    for call, fault in FAULTS:
        for number in itertools.count(1):
            store = folder / "store"
            shutil.rmtree(store, ignore_errors=True)
            if verb.before.exists():
                shutil.copytree(verb.before, store)
            if not run(verb, store, call, fault, number) or number > MOST:
                break
            try:
                yield call, fault, number, require_working(verb, store)
            except (EdgecilError, OSError) as error:
                sys.exit(f"{verb.name}, {call} {number}, {fault}: {error}")


def main() -> None:
    """Try every point and write how many there were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="bundle of release 1")
    parser.add_argument("next", type=Path, help="update to release 2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    start, total = time.monotonic(), 0
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        none, one, two = folder / "none", folder / "one", folder / "two"
        install(arguments.first, one, test=passes)
        shutil.copytree(one, two)
        update(arguments.next, two, test=passes)
        verbs = [
            Verb("install", ("install", str(arguments.first)), none, None, 1),
            Verb("update", ("update", str(arguments.next)), one, 1, 2),
            Verb("rollback", ("rollback",), two, 2, 1),
        ]
        for verb in verbs:
            tried: Counter[str] = Counter()
            found: Counter[str] = Counter()
            for call, fault, _, reader in points(verb, folder):
                tried[f"{call} {fault}"] += 1
                found["new" if reader == verb.new else "old"] += 1
            total += tried.total()
            rows.append({"verb": verb.name, "points": dict(tried), "reader_got": dict(found)})
            print(verb.name, sum(tried.values()), "points:", dict(tried), dict(found), flush=True)
    strace = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout
    content = {
        "points": total,
        "failed": 0,
        "verbs": rows,
        "python": platform.python_version(),
        "system": platform.platform(),
        "strace": strace.split("\n")[0],
        "seconds": round(time.monotonic() - start),
    }
    (arguments.out / "crash_points.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    print(f"{content['points']} points in {content['seconds']} s, none of them did harm")


if __name__ == "__main__":
    main()
