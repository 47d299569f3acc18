"""What a bundle says about itself: the manifest, its rules and its JSON form.

`export/FORMAT.md` is the specification. Writer and reader both go through the classes below, so
neither can make or accept what the other does not.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from edgecil_devices._json import find, get, items, parse_object, require, texts
from edgecil_devices.blobs import (
    BLOCK,
    GOLDEN_LOGITS,
    GOLDEN_PIXELS,
    HEADS,
    STATISTICS,
    TRUNK,
    Blob,
    check_blobs,
)
from edgecil_devices.class_names import fault_of
from edgecil_devices.errors import BundleVersionError
from edgecil_devices.preprocessing import Preprocessing
from edgecil_devices.teaching_facts import TeachingFacts, UnknownFacts

FORMAT = 2
"""The newest format that this edgecil reads. Format 2 has more operators, and statistics to teach
with; what does without them is still written in format 1."""
FORMAT_OF_STATISTICS = 2
WEIGHTS = ("fp32", "fp16", "int8")
"""How weights can be kept; all are float32 again once loaded."""
COMPUTES = ("fp32", "int8")
"""What graphs compute in."""
MAX_RELEASE = 2**53 - 1
"""The largest integer that every reader of JSON keeps exact."""
MAX_KEYS = 16
DEFAULT_TOLERANCE = 1e-3
"""How far logits may lie from golden ones, as a part of the largest of these."""

_CUT = re.compile(r"[0-9a-f]{12}")
# Of the last of the base64 digits of 32 bytes two bits are left over. Only where they are zero is
# it the text that `signing` makes of these bytes, and reads.
_KEY = re.compile(r"ed25519:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){1,2}")


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy on the test images, measured with the network the bundle was made from."""

    overall: float
    """Over all classes, in percent."""
    by_task: tuple[float, ...]
    """Over the classes of each task, in percent; empty where one was not measured."""
    classes: int | None = None
    """Classes that had test images; None for all of the bundle's."""

    def in_words(self, class_count: int) -> str:
        """The accuracy of a bundle of `class_count` classes, and what it covers if not all."""
        covered = "" if self.classes is None else f" over {self.classes} of {class_count} classes"
        return f"{self.overall:.2f} %{covered}"


@dataclass(frozen=True)
class HeldOut:
    """Which pictures of the folders it was trained on a bundle may be tested with.

    A picture stands at the first twelve digits of sha256 of the text "SEED DIGEST", DIGEST being
    the sha256 of its file, both in lower case hexadecimal digits. It was kept for the test where
    that is not above its class's cut.
    """

    seed: int
    """Of the run, 0 or more."""
    cuts: tuple[str | None, ...]
    """By class; None for a class whose pictures came with a test split."""


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
    """How weights are kept: "fp32", "fp16" or "int8"."""
    opset: int
    """Of the ONNX operators."""
    ir_version: int
    """Of the ONNX files."""
    min_onnxruntime: str
    """The oldest onnxruntime that may load them."""
    blobs: tuple[Blob, ...]
    """Trunk, blocks in task order, head, and golden pixels and logits or neither."""
    network: dict[str, str] = field(default_factory=dict)
    """Method, backbone and cut, for people to read."""
    versions: dict[str, str] = field(default_factory=dict)
    """The programs that made the bundle, for people to read."""
    accuracy: Accuracy | None = None
    """None where it was not measured."""
    compute: str = "fp32"
    """What graphs compute in: "fp32" or "int8"."""
    release: int | None = None
    """Later releases of one classifier have higher numbers, from 1; None for a plain bundle."""
    expires: str | None = None
    """The day after which a device should have had a later release, as in "2027-06-30"."""
    keys: tuple[str, ...] | None = None
    """The public keys to trust from this release on; None leaves them as they are."""
    tolerance: float = DEFAULT_TOLERANCE
    """How far logits may lie from the golden ones, as a part of the largest of these."""
    held_out: HeldOut | None = None
    """How test pictures were drawn; None where all came with a test split, or nobody noted it."""
    format_number: int = 1
    """The format: 1, or 2 where a graph uses operators that 1 does not have, or with statistics."""
    origin: dict[str, str] = field(default_factory=dict)
    """Where the weights come from that the network started with, for people to read: `source`,
    `licence`, `trained_on` and `sha256`; empty where it started at random."""
    teaching: TeachingFacts | None = None
    """What a device can be taught new classes with; goes with the blob of statistics."""
    unknown: UnknownFacts | None = None
    """When a device may say that it does not know; None where nobody measured it."""

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        _check_tasks(self.tasks, len(self.classes))
        check_blobs(self.blobs, len(self.tasks))
        if self.weights not in WEIGHTS:
            raise BundleVersionError(f"unknown weights {self.weights!r}; install a newer edgecil")
        if self.compute not in COMPUTES:
            raise BundleVersionError(f"unknown compute {self.compute!r}; install a newer edgecil")
        require(0 < self.format_number <= FORMAT, f"there is no format {self.format_number}")
        version_ok = bool(_VERSION.fullmatch(self.min_onnxruntime))
        require(version_ok, f"malformed onnxruntime version {self.min_onnxruntime!r}")
        require(len(self.mean) == len(self.std) == 3, "mean and std must have three values each")
        _check_release(self.release, self.expires, self.keys)
        require(0 < self.tolerance <= 1, "the tolerance must lie between 0 and 1")
        by_task = self.accuracy.by_task if self.accuracy else ()
        require(len(by_task) in (0, len(self.tasks)), "accuracy must be given for every task")
        measured = self.accuracy.classes if self.accuracy else None
        some = measured is None or 0 < measured < len(self.classes)
        require(some, "accuracy covers an impossible number of classes")
        if held_out := self.held_out:
            require(0 <= held_out.seed <= MAX_RELEASE, "impossible seed of the test pictures")
            require(len(held_out.cuts) == len(self.classes), "there must be a cut for every class")
            sound = all(cut is None or _CUT.fullmatch(cut) for cut in held_out.cuts)
            require(sound, "malformed cut of the test pictures")
        require((self.teaching is None) == (self.statistics is None), "statistics lack their facts")
        if self.teaching:
            belong = self.format_number >= FORMAT_OF_STATISTICS
            require(belong, f"statistics belong to format {FORMAT_OF_STATISTICS}")
            self.teaching.check(len(self.classes))
        if self.unknown:
            self.unknown.check()

    @property
    def trunk(self) -> Blob:
        """The one trunk."""
        return self.blobs[0]

    @property
    def blocks(self) -> tuple[Blob, ...]:
        """The blocks, oldest first."""
        return tuple(blob for blob in self.blobs if blob.role == BLOCK)

    @property
    def head(self) -> Blob:
        """The one head, linear or of the nearest mean."""
        return next(blob for blob in self.blobs if blob.role in HEADS)

    @property
    def statistics(self) -> Blob | None:
        """Of the classes' features, to teach with, if the bundle carries them."""
        return next((blob for blob in self.blobs if blob.role == STATISTICS), None)

    @property
    def golden(self) -> tuple[Blob, Blob] | None:
        """Golden pixels and the logits they must give, if the bundle carries them."""
        by_role = {blob.role: blob for blob in self.blobs}
        if GOLDEN_PIXELS not in by_role:
            return None
        return by_role[GOLDEN_PIXELS], by_role[GOLDEN_LOGITS]

    def to_json(self) -> bytes:
        """The bytes that go into the file; equal manifests give equal bytes."""
        accuracy = self.accuracy
        release = {"release": self.release, "expires": self.expires, "keys": self.keys}
        record = {
            "format": self.format_number,
            **{key: value for key, value in release.items() if value is not None},
            "classes": self.classes,
            "tasks": [[task.start, task.stop] for task in self.tasks],
            "preprocessing": self.preprocessing.to_dict(),
            "normalisation": {"folded_into": TRUNK, "mean": self.mean, "std": self.std},
            "weights": self.weights,
            "compute": self.compute,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "min_onnxruntime": self.min_onnxruntime,
            "network": self.network,
            **({"origin": self.origin} if self.origin else {}),
            "versions": self.versions,
            "accuracy": None if accuracy is None else _accuracy_record(accuracy),
            "tolerance": self.tolerance,
            **({"held_out": asdict(self.held_out)} if self.held_out else {}),
            **({"teaching": self.teaching.to_dict()} if self.teaching else {}),
            **({"unknown": asdict(self.unknown)} if self.unknown else {}),
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
        if (format_ := get(record, "format", int)) > FORMAT:
            raise BundleVersionError(
                f"the manifest is of format {format_}, newer than this edgecil reads ({FORMAT}); "
                "install a newer edgecil"
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
            compute=get(record, "compute", str),
            opset=get(record, "opset", int),
            ir_version=get(record, "ir_version", int),
            min_onnxruntime=get(record, "min_onnxruntime", str),
            blobs=items(record, "blobs", lambda holder, key: Blob.from_dict(holder[key])),
            network=texts(record, "network"),
            versions=texts(record, "versions"),
            accuracy=None
            if accuracy is None
            else Accuracy(
                _number(accuracy, "overall"),
                items(accuracy, "by_task", _number),
                find(accuracy, "classes", int),
            ),
            release=find(record, "release", int),
            expires=find(record, "expires", str),
            keys=None if find(record, "keys", list) is None else items(record, "keys", _text),
            tolerance=_number(record, "tolerance"),
            held_out=_held_out(find(record, "held_out", dict)),
            format_number=format_,
            origin=texts(record, "origin"),
            teaching=TeachingFacts.from_dict(find(record, "teaching", dict)),
            unknown=UnknownFacts.from_dict(find(record, "unknown", dict)),
        )


def _held_out(record: dict[str, Any] | None) -> HeldOut | None:
    if record is None:
        return None
    cuts = items(record, "cuts", lambda holder, key: find(holder, key, str))
    return HeldOut(get(record, "seed", int), cuts)


def _accuracy_record(accuracy: Accuracy) -> dict[str, Any]:
    """The JSON form; what covers all classes does not say so."""
    some = {} if accuracy.classes is None else {"classes": accuracy.classes}
    return {"overall": accuracy.overall, **some, "by_task": accuracy.by_task}


def _check_release(release: int | None, expires: str | None, keys: tuple[str, ...] | None) -> None:
    require(release is None or 0 < release <= MAX_RELEASE, "impossible release number")
    require(release is not None or keys is None, "keys belong to a release")
    require(keys is None or 0 < len(keys) <= MAX_KEYS, "impossible number of keys")
    require(all(_KEY.fullmatch(key) for key in keys or ()), "malformed key")
    require(expires is None or is_day(expires), f"malformed day {expires!r}")


def is_day(text: str) -> bool:
    """Whether this is a day as `Manifest.expires` has it, such as 2030-12-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_classes(classes: tuple[str, ...]) -> None:
    require(len(classes) > 0, "there are no classes")
    require(len(set(classes)) == len(classes), "a class is named twice")
    for name in classes:
        fault = fault_of(name)
        require(fault is None, f"the class name {name!r} is not allowed: {fault}")


def _check_tasks(tasks: tuple[range, ...], class_count: int) -> None:
    starts = [0, *(task.stop for task in tasks)]
    contiguous = all(
        task.start == start and task.stop > start
        for task, start in zip(tasks, starts, strict=False)
    )
    require(contiguous and starts[-1] == class_count, "the tasks do not cover the classes")


def _text(record: Any, key: str) -> str:
    return get(record, key, str)


def _number(record: Any, key: str) -> float:
    return get(record, key, float)


def _range(record: Any, key: str) -> range:
    bounds = get(record, key, list)
    require(len(bounds) == 2 and all(type(b) is int for b in bounds), "malformed tasks")
    return range(*bounds)
