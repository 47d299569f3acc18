"""Mutants of a bundle and an update, read and self-tested as on a device.

Claim: whatever a file holds, reading it ends in a bundle that passes its self-test or in one
`BundleError`; never in another exception, in a crash, or in memory that its size does not explain.

    python benchmarks/fuzz_parser.py BUNDLE UPDATE --minutes 10 --out benchmarks/results/fuzz.json

Three kinds of mutants, in turn, all from one seed:

- bytes: of the whole file, changed, cut, doubled or moved. Sums refuse nearly all of them.
- manifest: values of its JSON replaced by other values, and every sum of the file made new.
- blobs: bytes of a graph, head or golden samples changed, and every sum made new, so that they
  reach the checks behind the sums, and onnxruntime if these let them pass.

A mutant that onnxruntime dies of ends the process; `ulimit -v` bounds its memory too.
"""

import argparse
import hashlib
import json
import platform
import random
import resource
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecil_devices.bundle import complete
from edgecil_devices.errors import BundleError
from edgecil_devices.package import Package, read_package
from edgecil_devices.selftest import self_test

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**53, 2**63, 1.5, 1e308, "", "..", "a" * 300, "\x1b[2J"),
    *([], {}, [[]], [0, 1], {"a": 1}),
)


@dataclass
class Subject:
    """A good file, and what is missing in it."""

    data: bytes
    package: Package
    more: dict[str, bytes]


def outcome(data: bytes, more: dict[str, bytes]) -> str:
    """What becomes of a file: the name of its error, or that it was accepted.

    Raises:
        Exception: anything but a BundleError, which refutes the claim.
    """
    try:
        self_test(complete(read_package(data), more), threads=1)
    except BundleError as error:
        if "\n" in str(error):
            raise RuntimeError(f"not one line: {error!r}") from error
        return type(error).__name__
    return "accepted"


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, cut out, doubled or moved."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        start = rng.randrange(len(found) + 1)
        end = min(len(found), start + rng.choice((1, 1, 2, 4, 64)))
        match rng.randrange(5):
            case 0:
                found[start:end] = rng.randbytes(end - start)
            case 1:
                del found[start:end]
            case 2:
                found[start:start] = found[start:end]
            case 3:
                found[start:end] = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * (end - start)
            case _:
                found = found[:start] if rng.random() < 0.1 else found[start:] + found[:start]
        if not found:
            break
    return bytes(found)


def changed_json(record: Any, rng: random.Random) -> Any:
    """One value somewhere in it replaced."""
    places: list[tuple[Any, Any]] = []

    def collect(holder: Any) -> None:
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                collect(holder[key])

    collect(record)
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(places)
        other, other_key = rng.choice(places)
        try:
            holder[key] = rng.choice(
                (*VALUES, json.loads(json.dumps(other[other_key], allow_nan=False)))
            )
        except (KeyError, IndexError):  # it went away with what was replaced before
            continue
    return record


def packed(package: Package, manifest_json: bytes, blobs: list[bytes]) -> bytes:
    """A file whose header and sum fit what is in it, be it as senseless as it may."""
    count = len(package.manifest.blobs)
    bits = sum(
        1 << n for n, blob in enumerate(package.manifest.blobs) if blob.sha256 in package.blobs
    )
    blob_map = bits.to_bytes(-(-count // 8), "little")
    base = bytes.fromhex(package.base) if package.base else bytes(32)
    sizes = len(manifest_json), 0, len(blob_map)
    number = package.manifest.format_number
    start = struct.pack("<8sIIII32s", b"\x89edgecil", number, *sizes, base)
    told = manifest_json + blob_map
    return b"".join((start, hashlib.sha256(start + told).digest(), told, *blobs))


def mutant(subject: Subject, kind: str, rng: random.Random) -> bytes:
    """One mutant of `subject`: of its "bytes", its "manifest" or its "blobs"."""
    if kind == "bytes":
        return changed_bytes(subject.data, rng)
    package = subject.package
    record = json.loads(package.manifest_json)
    blobs = [package.blobs[b.sha256] for b in package.manifest.blobs if b.sha256 in package.blobs]
    if kind == "manifest":
        return packed(
            package, json.dumps(changed_json(record, rng), allow_nan=False).encode(), blobs
        )
    index = rng.randrange(len(blobs))
    old = blobs[index]
    blobs[index] = changed_bytes(old, rng) or b"\0"
    # The same blob is named in several places: as itself, and as the trunk of the blocks.
    old_sha256, new_sha256 = (hashlib.sha256(data).hexdigest() for data in (old, blobs[index]))
    for blob in record["blobs"]:
        if blob["sha256"] == old_sha256:
            blob["size"] = len(blobs[index])
    text = json.dumps(record, allow_nan=False).replace(old_sha256, new_sha256)
    return packed(package, text.encode(), blobs)


KINDS = ("bytes", "manifest", "blobs")


def fuzz(
    subjects: list[Subject], seed: int, more: Callable[[int], bool]
) -> dict[str, Counter[str]]:
    """Try mutants while `more(tried)` holds; returns what became of them, by kind.

    Raises:
        Exception: a mutant refutes the claim; its number is in a note.
    """
    found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    tried = 0
    while more(tried):
        rng = random.Random(f"{seed}:{tried}")
        subject, kind = rng.choice(subjects), KINDS[tried % len(KINDS)]
        try:
            found[kind][outcome(mutant(subject, kind, rng), subject.more)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, mutant {tried}, {kind}")
            raise
        tried += 1
    return found


def subjects_of(bundle: bytes, update: bytes | None = None) -> list[Subject]:
    """What is mutated: a bundle, and an update that builds on it."""
    whole = read_package(bundle)
    found = [Subject(bundle, whole, {})]
    if update:
        found.append(Subject(update, read_package(update), whole.blobs))
    for subject in found:
        if (became := outcome(subject.data, subject.more)) != "accepted":
            raise SystemExit(f"error: the files must be sound to begin with, not {became}")
    return found


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("update", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1993)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    update = asked.update.read_bytes() if asked.update else None
    subjects = subjects_of(asked.bundle.read_bytes(), update)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    found = fuzz(subjects, asked.seed, lambda _: time.monotonic() - start < 60 * asked.minutes)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "mutants": sum(counter.total() for counter in found.values()),
        "seconds": round(time.monotonic() - start),
        "seed": asked.seed,
        "outcomes": {kind: dict(counter) for kind, counter in found.items()},
        "file_bytes": [len(subject.data) for subject in subjects],
        "peak_rss_grew_kib": after - before,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    text = json.dumps(result, indent=1, allow_nan=False)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
