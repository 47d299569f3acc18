"""Exemplars: encoded images by class in herding order, in one file, as many as the bytes allow.

The file holds flat tensors:

    counts    exemplars of each class, uint32
    lengths   bytes of each exemplar, uint16 or, if one has more than 65,535, uint32; left out where
              the codec gives all the same length
    payload   all exemplars one after the other, class by class, uint8
    shared    the codec's shared header, uint8; left out if it has none

Shapes: C classes, N exemplars, S image size.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgecil.budget import format_bytes
from edgecil.errors import BudgetError, StateCorruptError, StateError
from edgecil.memory.codecs import ImageCodec, Pixels
from edgecil.memory.tensorfile import Array, file_size, read_tensors, write_tensors

Ints = NDArray[np.int64]


def published_quota(memory: int, class_count: int) -> int:
    """Exemplars of each class where `memory` images are shared out evenly, the rest unused.

    Source: PyCIL, `models/base.py`.
    """
    return memory // class_count


def uniform_size(
    classes: int, images: int, image_bytes: int, codec: ImageCodec, image_size_px: int
) -> int:
    """The size in bytes of the file of `images` exemplars of `image_bytes` each, of any class."""
    return _Size(
        fixed_length=codec.payload_bytes(image_size_px) is not None,
        shared_bytes=len(codec.shared_header(image_size_px)),
        classes=classes,
        images=images,
        payload_bytes=images * image_bytes,
        longest=image_bytes if images else 0,
    ).total_bytes()


def fill(
    lengths: Sequence[Ints], capacity_bytes: int, codec: ImageCodec, image_size_px: int
) -> Ints:
    """How many images of each class, in herding order, fill a file of `capacity_bytes`.

    Every class gets its r-th image before any gets its (r+1)-st; what classes with few images leave
    goes to the others. A class whose next image does not fit is complete, and the others go on
    until none has a next image that fits.

    Args:
        lengths: payload lengths of all images that may be kept, by class, in herding order.
        capacity_bytes: bound on the size of the whole file.
        codec: the codec of the images.
        image_size_px: S.

    Returns:
        The number of images to keep of each class, (C,).

    Raises:
        BudgetError: not even a file without images fits.
    """

    def up_to(rank: int) -> _Size:
        return _Size.of([row[:rank] for row in lengths], codec, image_size_px)

    if up_to(0).total_bytes() > capacity_bytes:
        raise BudgetError(
            f"{format_bytes(max(capacity_bytes, 0))} are left for exemplars, but without a single "
            f"image their file takes {format_bytes(up_to(0).total_bytes())}; raise --budget, or "
            "keep the weights in fewer bytes with --state-precision"
        )
    ranks = range(1, 1 + max((len(row) for row in lengths), default=0))
    rank = bisect_right(ranks, capacity_bytes, key=lambda rank: up_to(rank).total_bytes())

    # All images up to this rank fit, and those of the next do not all: a few decisions remain.
    size = up_to(rank)
    counts = np.array([min(len(row), rank) for row in lengths], np.int64)
    going_on = [label for label, row in enumerate(lengths) if len(row) > rank]
    while going_on:
        taken = []
        for label in going_on:
            larger = size.with_image(int(lengths[label][counts[label]]))
            if larger.total_bytes() <= capacity_bytes:
                size = larger
                counts[label] += 1
                taken.append(label)
        going_on = [label for label in taken if counts[label] < len(lengths[label])]
    return counts


@dataclass(frozen=True)
class EncodedPictures:
    """Encoded images of one size, decoded each time they are asked for."""

    payloads: Sequence[bytes]
    """The encoded images."""
    codec: ImageCodec
    """How they are encoded."""
    image_size_px: int
    """S, height and width of every image."""
    shared_header: bytes
    """The header that decodes them, as it was when they were encoded."""

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.payloads)

    def pixels(self, indices: Ints | None = None) -> Pixels:
        """The images at `indices` (all if None), decoded, (n, S, S, 3).

        Raises:
            StateCorruptError: a payload is altered.
        """
        chosen = self.payloads if indices is None else [self.payloads[i] for i in indices]
        return self.codec.decode_many(chosen, self.image_size_px, self.shared_header)


@dataclass(frozen=True)
class ExemplarSet:
    """Encoded exemplars of classes 0..C-1."""

    codec: ImageCodec
    """How the images are encoded."""
    image_size_px: int
    """S, height and width of every image."""
    payloads: tuple[tuple[bytes, ...], ...]
    """The encoded images by class, in herding order."""
    shared_header: bytes
    """The header that decodes them, as it was when they were encoded."""

    @classmethod
    def empty(cls, codec: ImageCodec, image_size_px: int) -> "ExemplarSet":
        """A set of no classes."""
        return cls(codec, image_size_px, (), codec.shared_header(image_size_px))

    def __len__(self) -> int:
        """N, the number of exemplars of all classes."""
        return sum(len(images) for images in self.payloads)

    @property
    def counts(self) -> Ints:
        """Exemplars of each class, (C,)."""
        return np.array([len(images) for images in self.payloads], np.int64)

    def lengths(self) -> list[Ints]:
        """The payload lengths by class, as `fill` takes them."""
        return [np.array([*map(len, images)], np.int64) for images in self.payloads]

    def labels(self) -> Ints:
        """The class of each exemplar, (N,), in the order of `pixels`."""
        return np.repeat(np.arange(len(self.payloads)), self.counts)

    @cached_property
    def pictures(self) -> EncodedPictures:
        """All exemplars, class by class in herding order."""
        payloads = [payload for images in self.payloads for payload in images]
        return EncodedPictures(payloads, self.codec, self.image_size_px, self.shared_header)

    def pixels(self, indices: Ints | None = None) -> Pixels:
        """The exemplars at `indices` (all if None), decoded, (n, S, S, 3), in that order.

        Raises:
            StateCorruptError: a payload is altered.
        """
        return self.pictures.pixels(indices)

    def by_class(self) -> list[EncodedPictures]:
        """The exemplars of each class, in herding order."""
        encoded = (self.codec, self.image_size_px, self.shared_header)
        return [EncodedPictures(images, *encoded) for images in self.payloads]

    def with_new_classes(self, payloads: Iterable[Sequence[bytes]]) -> "ExemplarSet":
        """The set with classes C, C+1, ... appended, their images encoded by the set's codec.

        Raises:
            StateError: the installed Pillow gives another shared header than the set has.
        """
        if self.shared_header != self.codec.shared_header(self.image_size_px):
            raise StateError(
                f"the exemplars' {self.codec.name} header was written by another version of "
                "Pillow, and new exemplars cannot share it; install the version that "
                "config.json of the run names"
            )
        return replace(self, payloads=(*self.payloads, *(tuple(images) for images in payloads)))

    def truncate(self, counts: Sequence[int] | Ints) -> "ExemplarSet":
        """The set with the first `counts[c]` exemplars of each class c."""
        kept = zip(self.payloads, counts, strict=True)
        return replace(self, payloads=tuple(images[:count] for images, count in kept))

    def filled(self, capacity_bytes: int) -> "ExemplarSet":
        """The set cut by `fill`, so that its file takes at most `capacity_bytes`.

        Raises:
            BudgetError: not even a file without images fits.
        """
        return self.truncate(fill(self.lengths(), capacity_bytes, self.codec, self.image_size_px))

    def to_bytes(self) -> bytes:
        """The set as one file; the same set gives the same bytes."""
        lengths = self.lengths()
        values: dict[str, Array] = {
            "counts": self.counts,
            "lengths": np.concatenate([np.empty(0, np.int64), *lengths]),
            "payload": _as_array(b"".join(self.pictures.payloads)),
            "shared": _as_array(self.shared_header),
        }
        shapes = _Size.of(lengths, self.codec, self.image_size_px).shapes()
        return write_tensors({name: values[name].astype(t) for name, (t, _) in shapes.items()})

    @classmethod
    def from_bytes(cls, data: bytes, codec: ImageCodec, image_size_px: int) -> "ExemplarSet":
        """Read what `to_bytes` wrote of a set with this codec and image size.

        Raises:
            StateCorruptError: `data` is truncated or altered, or is of another codec or size.
        """
        tensors = read_tensors(data)
        fixed_bytes = codec.payload_bytes(image_size_px)
        optional = {"lengths": fixed_bytes is None, "shared": bool(codec.shared_header(1))}
        expected = {"counts", "payload"} | {name for name, there in optional.items() if there}
        if tensors.keys() != expected or any(t.dtype.kind != "u" for t in tensors.values()):
            raise _corrupt(codec)
        counts, payload = tensors["counts"].tolist(), tensors["payload"].tobytes()
        if fixed_bytes is None:
            lengths = tensors["lengths"].tolist()
        else:
            lengths = [fixed_bytes] * (len(payload) // fixed_bytes)
        if sum(counts) != len(lengths) or sum(lengths) != len(payload):
            raise _corrupt(codec)
        images = [payload[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]
        classes = [tuple(images[a:b]) for a, b in pairwise(accumulate(counts, initial=0))]
        shared = tensors["shared"].tobytes() if optional["shared"] else b""
        return cls(codec, image_size_px, tuple(classes), shared)


@dataclass(frozen=True)
class _Size:
    """All that the size of a file of exemplars depends on."""

    fixed_length: bool
    shared_bytes: int
    classes: int
    images: int
    payload_bytes: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[Ints], codec: ImageCodec, image_size_px: int) -> "_Size":
        return cls(
            fixed_length=codec.payload_bytes(image_size_px) is not None,
            shared_bytes=len(codec.shared_header(image_size_px)),
            classes=len(lengths),
            images=sum(len(row) for row in lengths),
            payload_bytes=sum(int(row.sum()) for row in lengths),
            longest=max((int(row.max()) for row in lengths if len(row)), default=0),
        )

    def with_image(self, length: int) -> "_Size":
        return replace(
            self,
            images=self.images + 1,
            payload_bytes=self.payload_bytes + length,
            longest=max(self.longest, length),
        )

    def shapes(self) -> dict[str, tuple[DTypeLike, int]]:
        """Name -> (dtype, length) of the file's tensors, of which more images never make less."""
        shapes: dict[str, tuple[DTypeLike, int]] = {
            "counts": (np.uint32, self.classes),
            "payload": (np.uint8, self.payload_bytes),
        }
        if not self.fixed_length:
            shapes["lengths"] = (np.uint16 if self.longest < 1 << 16 else np.uint32, self.images)
        if self.shared_bytes:
            shapes["shared"] = (np.uint8, self.shared_bytes)
        return shapes

    def total_bytes(self) -> int:
        return file_size(self.shapes())


def _as_array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _corrupt(codec: ImageCodec) -> StateCorruptError:
    return StateCorruptError(
        f"the file of exemplars is altered, or its images are not {codec.name}; "
        "restore the state from a copy, or train again"
    )
