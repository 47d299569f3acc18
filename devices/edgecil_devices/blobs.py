"""The blobs of a bundle: what a manifest says about each of its files."""

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgecil_devices._json import find, get, items, require
from edgecil_devices.errors import BundleVersionError

MAX_BLOB_BYTES = 2**31 - 1
"""No ONNX graph can be larger: the limit is protobuf's."""
MAX_BLOBS = 1024
TRUNK, BLOCK, HEAD, NEAREST_MEAN = "trunk", "block", "head", "nearest-mean"
"""The roles of blobs, in the order in which they appear; the last two take each other's place."""
HEADS = (HEAD, NEAREST_MEAN)
STATISTICS = "statistics"
"""The role of what a device can be taught with, behind the head; of format 2 on."""
GOLDEN_PIXELS, GOLDEN_LOGITS = "golden-pixels", "golden-logits"
"""The roles of the golden samples, which come last, both or neither."""

_BLOB_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROLES = (TRUNK, BLOCK, *HEADS, STATISTICS, GOLDEN_PIXELS, GOLDEN_LOGITS)


@dataclass(frozen=True)
class Blob:
    """One file inside a bundle."""

    name: str
    """What it is called when extracted; at most 64 of a-z, 0-9, dot, dash and underscore."""
    role: str
    """What it is for: one of the roles above."""
    size_bytes: int
    """Its exact size."""
    sha256: str
    """Of its bytes, 64 lower-case hexadecimal digits."""
    task: int | None = None
    """Blocks only: the task whose training made it, from 0."""
    features: int | None = None
    """Blocks only: the number of features it computes per image."""
    trunk: str | None = None
    """Blocks only: the sha256 of the trunk it was made for."""
    tasks: tuple[int, ...] | None = None
    """Of blocks that stand for several tasks: which, from 0, rising; `task` is the last of them."""

    def __post_init__(self) -> None:
        require(bool(_BLOB_NAME.fullmatch(self.name)), f"blob name {self.name!r} is not allowed")
        if self.role not in _ROLES:
            raise BundleVersionError(
                f"{self.name}: unknown role {self.role!r}; install a newer edgecil"
            )
        require(0 < self.size_bytes <= MAX_BLOB_BYTES, f"{self.name}: impossible size")
        require(bool(_SHA256.fullmatch(self.sha256)), f"{self.name}: malformed sha256")
        given = [value is not None for value in (self.task, self.features, self.trunk)]
        require(
            all(given) if self.role == BLOCK else not any(given),
            f"{self.name}: task, features and trunk belong to blocks, and to every block",
        )
        if self.tasks is not None:
            rising = all(earlier < later for earlier, later in pairwise((-1, *self.tasks)))
            require(
                len(self.tasks) > 1 and rising and self.tasks[-1] == self.task,
                f"{self.name}: impossible tasks",
            )
        require(self.features is None or 0 < self.features <= 2**16, f"{self.name}: features")

    @classmethod
    def of(cls, name: str, role: str, data: bytes, **of_block: Any) -> "Blob":
        """Describe the content `data`; blocks also need their task, features and trunk."""
        return cls(name, role, len(data), hashlib.sha256(data).hexdigest(), **of_block)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what does not apply."""
        fields = {
            "name": self.name,
            "role": self.role,
            "size": self.size_bytes,
            "sha256": self.sha256,
            "task": self.task,
            "features": self.features,
            "trunk": self.trunk,
            "tasks": self.tasks,
        }
        return {key: value for key, value in fields.items() if value is not None}

    @classmethod
    def from_dict(cls, record: Any) -> "Blob":
        """The reverse of `to_dict`."""
        return cls(
            name=get(record, "name", str),
            role=get(record, "role", str),
            size_bytes=get(record, "size", int),
            sha256=get(record, "sha256", str),
            task=find(record, "task", int),
            features=find(record, "features", int),
            trunk=find(record, "trunk", str),
            tasks=None if find(record, "tasks", list) is None else items(record, "tasks", _int),
        )


def _int(record: Any, key: Any) -> int:
    return get(record, key, int)


def check_blobs(blobs: tuple[Blob, ...], task_count: int) -> None:
    """Refuse blobs that make no bundle.

    Raises:
        BundleCorruptError: a role is missing or out of place, or a block is of another trunk.
    """
    golden = [blob.role for blob in blobs if blob.role in (GOLDEN_PIXELS, GOLDEN_LOGITS)]
    run = blobs[: len(blobs) - len(golden)]
    if run and run[-1].role == STATISTICS:
        run = run[:-1]
    require(len(run) >= 3 and len(blobs) <= MAX_BLOBS, "it needs a trunk, a block and a head")
    trunk, *blocks, head = run
    require(
        trunk.role == TRUNK
        and all(block.role == BLOCK for block in blocks)
        and head.role in HEADS
        and golden in ([], [GOLDEN_PIXELS, GOLDEN_LOGITS]),
        "the blobs must be one trunk, blocks, one head, statistics or none, and golden samples or "
        "none, in this order",
    )
    require(len({blob.name for blob in blobs}) == len(blobs), "two blobs have one name")
    tasks = [block.task for block in blocks if block.task is not None]
    stood_for = [task for block in blocks for task in block.tasks or (block.task,)]
    require(len(set(stood_for)) == len(stood_for), "two blocks stand for one task")
    ordered = all(earlier < later for earlier, later in pairwise(tasks))
    require(
        ordered and tasks[0] >= 0 and tasks[-1] < task_count, "the blocks are not in task order"
    )
    for block in blocks:
        require(block.trunk == trunk.sha256, f"{block.name} was made for another trunk")
