"""A device's verbs are ended or failed at each of their system calls, one run a call.

Claim: whichever write, fsync, rename, unlink, mkdir or lock is the last thing the process does, or
fails, everything afterwards is as it was or as it was to be, whole; a reader gets it at once; and
the next command finishes, undoes or clears away the rest, without repair. What that means for
`install`, `update` and `rollback` is said in `crash_store.py`, for `teach` and `taught` in
`crash_teaching.py`.

    edgecil train --data PHOTOS --budget 400kB --backbone convnet2 --run RUN
    edgecil export RUN --release 1 --teachable --out FIRST.edgecil
    edgecil learn RUN --data MORE
    edgecil update RUN --since FIRST.edgecil --release 2 --out NEXT.update
    python benchmarks/crash_points.py FIRST.edgecil NEXT.update

The pictures that are taught are made here. The verbs run as on a device, `python -m
edgecil_devices`, a store's with the self-test in a child process, under strace, which kills the
process at the N-th call of a kind or lets that call fail, for N = 1, 2, ... until there is no N-th
call. strace counts for each process alone, and Python's own calls count too. Needs strace and the
right to trace. The same for every recorded operation, with what a power cut may lose or reorder, is
in `tests/devices/store/test_crashes.py` and `tests/devices/teaching/test_crashes.py`; training's
state and files that are replaced, as export does, in `tests/crash`. Results:
`results/crash_points.json`, which has all verbs only if all were tried.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import crash_store
import crash_teaching
from edgecil_devices.errors import EdgecilError

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
    """What is run, in which folder, and what may come of it."""

    name: str
    arguments: tuple[str, ...]
    """Paths in them are relative to the folder."""
    before: Path
    """The folder, copied for every run."""
    check: Callable[[Path], str]
    """Given the folder afterwards: "old" or "new", as a reader found it before anything was
    recovered. It then recovers, and goes on as the next command would.

    Raises:
        EdgecilError, OSError: something is neither, or not whole, or the next command fails.
    """


def run(verb: Verb, at: Path, call: str, fault: str, number: int) -> bool:
    """Run a verb with one fault; whether there was such a call."""
    trace = at.with_name("trace")
    command = [
        *("strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={call}"),
        *("-e", f"inject={call}:{fault}:when={number}"),
        *(sys.executable, "-m", "edgecil_devices", *verb.arguments),
    ]
    subprocess.run(command, cwd=at, capture_output=True, check=False, timeout=300)
    text = trace.read_text(errors="replace")
    return "INJECTED" in text or "killed by SIGKILL" in text


def points(verb: Verb, folder: Path) -> Iterator[tuple[str, str]]:
    """Every fault at every call: which, and "old", "new", or the harm that it did."""
    for call, fault in FAULTS:
        for number in itertools.count(1):
            at = folder / "at"
            shutil.rmtree(at, ignore_errors=True)
            shutil.copytree(verb.before, at)
            if not run(verb, at, call, fault, number) or number > MOST:
                break
            try:
                found = verb.check(at)
            except (EdgecilError, OSError) as error:
                found = "harm"
                print(f"{verb.name}, {call} {number}, {fault}: {error}", flush=True)
            yield f"{call} {fault}", found


def tried(verb: Verb, folder: Path) -> dict[str, Any]:
    """A row of the results."""
    start = time.monotonic()
    by_fault: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for fault, outcome in points(verb, folder):
        by_fault[fault] += 1
        found[outcome] += 1
    row = {
        "verb": verb.name,
        "points": dict(by_fault),
        "reader_got": {key: found[key] for key in ("old", "new")},
        "failed": found["harm"],
        "seconds": round(time.monotonic() - start),
    }
    print(verb.name, by_fault.total(), "points:", row, flush=True)
    return row


def verbs(first: Path, update: Path, folder: Path) -> list[Verb]:
    """All of them, with the folders that they begin with."""
    made = [
        *crash_store.cases(first, update, folder / "store"),
        *crash_teaching.cases(first, folder / "teaching"),
    ]
    return [Verb(*one) for one in made]


def main() -> None:
    """Try every point and write how many there were; exit code 1 if any did harm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="bundle of release 1, exported with --teachable")
    parser.add_argument("next", type=Path, help="update to release 2")
    parser.add_argument("--only", help="verbs whose name begins like this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    start = time.monotonic()
    with TemporaryDirectory() as name:
        made = verbs(arguments.first.resolve(), arguments.next.resolve(), Path(name))
        chosen = [one for one in made if one.name.startswith(arguments.only or "")]
        rows = [tried(verb, Path(name)) for verb in chosen]
    strace = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout
    content = {
        "points": sum(sum(row["points"].values()) for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "verbs": rows,
        "python": platform.python_version(),
        "system": platform.platform(),
        "strace": strace.split("\n")[0],
        "seconds": round(time.monotonic() - start),
    }
    (arguments.out / "crash_points.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    print(f"{content['points']} points in {content['seconds']} s, {content['failed']} did harm")
    sys.exit(1 if content["failed"] else 0)


if __name__ == "__main__":
    main()
