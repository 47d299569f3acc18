"""What a bundle says about itself: the manifest, its rules and its JSON form.

`export/FORMAT.md` is the specification. Writer and reader both go through the classes below, so
neither can make or accept what the other does not.
"""

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from edgecil_devices._json import find, get, items, parse_object, texts
from edgecil_devices.errors import BundleCorruptError, BundleVersionError
from edgecil_devices.images import Preprocessing

FORMAT = 1
"""The format this edgecil writes, and the newest it reads."""
MAX_BLOB_BYTES = 2**31 - 1
"""No ONNX graph can be larger: the limit is protobuf's."""
MAX_BLOBS = 1024
WEIGHTS = ("fp32", "fp16", "int8")
"""How weights can be kept; all are float32 again once loaded."""
TRUNK, BLOCK, HEAD, NEAREST_MEAN = "trunk", "block", "head", "nearest-mean"
"""The roles of blobs, in the order in which they appear; the last two take each other's place."""
HEADS = (HEAD, NEAREST_MEAN)

_BLOB_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){1,2}")


@dataclass(frozen=True)
class Blob:
    """One file inside a bundle."""

    name: str
    """What it is called when extracted; at most 64 of a-z, 0-9, dot, dash and underscore."""
    role: str
    """"trunk", "block", "head" or "nearest-mean"."""
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

    def __post_init__(self) -> None:
        _require(bool(_BLOB_NAME.fullmatch(self.name)), f"blob name {self.name!r} is not allowed")
        if self.role not in (TRUNK, BLOCK, *HEADS):
            raise BundleVersionError(
                f"{self.name}: unknown role {self.role!r}; run: pip install -U edgecil"
            )
        _require(0 < self.size_bytes <= MAX_BLOB_BYTES, f"{self.name}: impossible size")
        _require(bool(_SHA256.fullmatch(self.sha256)), f"{self.name}: malformed sha256")
        given = [value is not None for value in (self.task, self.features, self.trunk)]
        _require(
            all(given) if self.role == BLOCK else not any(given),
            f"{self.name}: task, features and trunk belong to blocks, and to every block",
        )
        _require(self.features is None or 0 < self.features <= 2**16, f"{self.name}: features")

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
        )


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy on the test images, measured with the network the bundle was made from."""

    overall: float
    """Over all classes, in percent."""
    by_task: tuple[float, ...]
    """Over the classes of each task, in percent."""


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle but the weights themselves.

    Raises:
        BundleCorruptError: the parts contradict each other.
        BundleVersionError: they mean something this edgecil does not know.
    """

    classes: tuple[str, ...]
    """Names in the order of the head's rows."""
    tasks: tuple[range, ...]
    """The classes of each task, as positions in `classes`, without gaps."""
    preprocessing: Preprocessing
    """How a picture becomes the pixels that the trunk takes."""
    mean: tuple[float, ...]
    """Of the training pixels in 0..1, per channel; folded into the trunk, so not to be applied."""
    std: tuple[float, ...]
    """Their standard deviations, folded likewise."""
    weights: str
    """"fp32", "fp16" or "int8"."""
    opset: int
    """Of the ONNX operators."""
    ir_version: int
    """Of the ONNX files."""
    min_onnxruntime: str
    """The oldest onnxruntime that may load them."""
    blobs: tuple[Blob, ...]
    """Trunk, blocks in task order, head."""
    network: dict[str, str] = field(default_factory=dict)
    """Method, backbone and cut, for people to read."""
    versions: dict[str, str] = field(default_factory=dict)
    """The programs that made the bundle, for people to read."""
    accuracy: Accuracy | None = None
    """None where it was not measured."""

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        _check_tasks(self.tasks, len(self.classes))
        _check_blobs(self.blobs, len(self.tasks))
        if self.weights not in WEIGHTS:
            raise BundleVersionError(
                f"unknown weights {self.weights!r}; run: pip install -U edgecil"
            )
        version_ok = bool(_VERSION.fullmatch(self.min_onnxruntime))
        _require(version_ok, f"malformed onnxruntime version {self.min_onnxruntime!r}")
        _require(len(self.mean) == len(self.std) == 3, "mean and std must have three values each")
        by_task = self.accuracy.by_task if self.accuracy else ()
        _require(len(by_task) in (0, len(self.tasks)), "accuracy must be given for every task")

    @property
    def trunk(self) -> Blob:
        """The one trunk."""
        return self.blobs[0]

    @property
    def blocks(self) -> tuple[Blob, ...]:
        """The blocks, oldest first."""
        return self.blobs[1:-1]

    @property
    def head(self) -> Blob:
        """The one head, linear or of the nearest mean."""
        return self.blobs[-1]

    def to_json(self) -> bytes:
        """The bytes that go into the file; equal manifests give equal bytes."""
        accuracy = self.accuracy
        record = {
            "format": FORMAT,
            "classes": self.classes,
            "tasks": [[task.start, task.stop] for task in self.tasks],
            "preprocessing": self.preprocessing.to_dict(),
            "normalisation": {"folded_into": TRUNK, "mean": self.mean, "std": self.std},
            "weights": self.weights,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "min_onnxruntime": self.min_onnxruntime,
            "network": self.network,
            "versions": self.versions,
            "accuracy": None
            if accuracy is None
            else {"overall": accuracy.overall, "by_task": accuracy.by_task},
            "blobs": [blob.to_dict() for blob in self.blobs],
        }
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """The reverse of `to_json`; keys it does not know are left aside.

        Raises:
            BundleCorruptError: not a manifest, or one that breaks a rule.
            BundleVersionError: a format, role, precision or preprocessing it does not know.
        """
        record = parse_object(data)
        if (format_ := get(record, "format", int)) != FORMAT:
            raise BundleVersionError(
                f"the manifest is of format {format_}, not {FORMAT}; run: pip install -U edgecil"
            )
        normalisation = get(record, "normalisation", dict)
        accuracy = find(record, "accuracy", dict)
        return cls(
            classes=items(record, "classes", _text),
            tasks=items(record, "tasks", _range),
            preprocessing=Preprocessing.from_dict(get(record, "preprocessing", dict)),
            mean=items(normalisation, "mean", _number),
            std=items(normalisation, "std", _number),
            weights=get(record, "weights", str),
            opset=get(record, "opset", int),
            ir_version=get(record, "ir_version", int),
            min_onnxruntime=get(record, "min_onnxruntime", str),
            blobs=items(record, "blobs", lambda holder, key: Blob.from_dict(holder[key])),
            network=texts(record, "network"),
            versions=texts(record, "versions"),
            accuracy=None
            if accuracy is None
            else Accuracy(_number(accuracy, "overall"), items(accuracy, "by_task", _number)),
        )


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise BundleCorruptError(
            f"the manifest cannot be right: {problem}; export the bundle again"
        )


def _check_classes(classes: tuple[str, ...]) -> None:
    _require(len(classes) > 0, "there are no classes")
    _require(len(set(classes)) == len(classes), "a class is named twice")
    for name in classes:
        # Control characters would reach the terminal; a lone surrogate is no text at all.
        printable = not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
        _require(0 < len(name) <= 255 and printable, f"the class name {name!r} is not allowed")


def _check_tasks(tasks: tuple[range, ...], class_count: int) -> None:
    starts = [0, *(task.stop for task in tasks)]
    contiguous = all(
        task.start == start and task.stop > start
        for task, start in zip(tasks, starts, strict=False)
    )
    _require(contiguous and starts[-1] == class_count, "the tasks do not cover the classes")


def _check_blobs(blobs: tuple[Blob, ...], task_count: int) -> None:
    _require(3 <= len(blobs) <= MAX_BLOBS, "it needs a trunk, a block and a head")
    trunk, *blocks, head = blobs
    _require(
        trunk.role == TRUNK and head.role in HEADS and all(b.role == BLOCK for b in blocks),
        "the blobs must be one trunk, blocks, one head, in this order",
    )
    _require(len({blob.name for blob in blobs}) == len(blobs), "two blobs have one name")
    tasks = [block.task for block in blocks if block.task is not None]
    ordered = all(earlier < later for earlier, later in pairwise(tasks))
    _require(
        ordered and tasks[0] >= 0 and tasks[-1] < task_count, "the blocks are not in task order"
    )
    for block in blocks:
        _require(block.trunk == trunk.sha256, f"{block.name} was made for another trunk")


def _text(record: Any, key: str) -> str:
    return get(record, key, str)


def _number(record: Any, key: str) -> float:
    return get(record, key, float)


def _range(record: Any, key: str) -> range:
    bounds = get(record, key, list)
    _require(len(bounds) == 2 and all(type(b) is int for b in bounds), "malformed tasks")
    return range(*bounds)
