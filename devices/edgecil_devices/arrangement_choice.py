"""Which arrangement and computation were measured to be the fastest, kept to be measured once.

One small JSON file holds the choices for a few bundles. It is a convenience: a file that cannot be
read counts as none, one that cannot be written is left alone, and neither is ever an error.
"""

import contextlib
import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecil_devices._json import json_object
from edgecil_devices._onnxruntime import version
from edgecil_devices.computation import COMPUTATIONS, read_cpuinfo
from edgecil_devices.files import make_folder, replace_atomically

ONE_GRAPH, SIDE_BY_SIDE = "one graph", "side by side"
ARRANGEMENTS = (ONE_GRAPH, SIDE_BY_SIDE)

_REVISION = 2
"""Of what graphs are turned into: with another one every choice is measured anew."""
_MOST_CHOICES = 32
_MOST_BYTES = 65_536
_LONGEST_NOTE = 300
_ABOUT_THE_PROCESSOR = ("model name", "Model", "CPU implementer", "CPU part", "Features")
"""What /proc/cpuinfo calls what bears on speed, on x86-64 and ARM."""


@dataclass(frozen=True)
class Choice:
    """What the measurement said."""

    arrangement: str
    """One of `ARRANGEMENTS`."""
    trunk_share: float
    """The trunk's part, 0 to 1, of the time for trunk and blocks, where each was timed alone."""
    compute: str
    """One of `computation.COMPUTATIONS`."""
    note: str = ""
    """Why another computation was not taken, though it was tried."""

    @classmethod
    def from_dict(cls, record: Any) -> "Choice | None":
        """The choice that a file holds; None if it holds something else."""
        with contextlib.suppress(TypeError, ValueError, KeyError):
            arrangement, share = record["arrangement"], float(record["trunk_share"])
            compute, note = record["compute"], str(record.get("note", ""))[:_LONGEST_NOTE]
            if arrangement in ARRANGEMENTS and 0 <= share <= 1 and compute in COMPUTATIONS:
                return cls(arrangement, share, compute, note)
        return None


def user_file() -> Path | None:
    """Where choices are kept for bundles outside a store; None for a user without a home."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(cache) / "edgecil" / "arrangements.json"


def file_for(path: str | Path) -> Path | None:
    """Where choices are kept for a bundle, or for those of a store: in its folder."""
    return Path(path) / "arrangements.json" if Path(path).is_dir() else user_file()


def key_of(manifest_json: bytes, threads: int, asked: str | None = None) -> str:
    """What a choice holds for: the bundle, the threads, onnxruntime, the processor, and this code.

    Args:
        manifest_json: stands for the bundle.
        threads: how many may compute at once.
        asked: the computation that was asked for, if any was.
    """
    lines = read_cpuinfo().splitlines()
    processor = sorted({line for line in lines if line.startswith(_ABOUT_THE_PROCESSOR)})
    facts = [hashlib.sha256(manifest_json).hexdigest(), threads, version()]
    facts += [platform.machine(), os.cpu_count(), processor, asked, _REVISION]
    return hashlib.sha256(json.dumps(facts, allow_nan=False).encode()).hexdigest()


def read_choice(file: Path, key: str) -> Choice | None:
    """The choice kept under `key`, if there is one."""
    return Choice.from_dict(_choices(file).get(key))


def keep_choice(file: Path, key: str, choice: Choice) -> None:
    """Keep a choice where that is possible; the oldest ones make room."""
    choices = _choices(file) | {key: asdict(choice)}
    newest = dict(list(choices.items())[-_MOST_CHOICES:])
    with contextlib.suppress(OSError):
        make_folder(file.parent)
        replace_atomically(file, json.dumps(newest, allow_nan=False).encode())


def _choices(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, TypeError), file.open("rb") as stream:
        return json_object(stream.read(_MOST_BYTES))
    return {}
