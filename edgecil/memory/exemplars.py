"""Exemplars: encoded images by class in herding order, in one file, as many as the bytes allow.

The file holds flat tensors:

    counts    exemplars of each class, uint32
    lengths   bytes of each exemplar, uint16 or, if one has more than 65,535, uint32; left out where
              the codec gives all the same length
    payload   all exemplars one after the other, class by class, uint8
    shared    the codec's shared header, uint8; left out if it has none
    aspects   width over height of each exemplar, float32; only of more than 64 pixels, which are
              whole pictures, squeezed into the square (states of format 1 have squares instead)

Shapes: C classes, N exemplars, S image size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecil.data.datasets import Aspects, Split
from edgecil.errors import StateCorruptError, StateError
from edgecil.memory.codecs import ImageCodec, Pixels
from edgecil.memory.exemplar_sizes import Ints, Size, fill, has_aspects
from edgecil.memory.tensorfile import Array, read_tensors, write_tensors
from edgecil.workers import on_all_cores, portions


class _Readable(Protocol):
    def pixels(self, indices: Ints) -> Pixels:
        """The pictures at `indices` -> (n, S, S, 3) uint8."""


def encoded(pictures: _Readable, codec: ImageCodec, indices: Ints) -> list[bytes]:
    """The pictures at `indices`, read and encoded a portion a thread: few are held decoded."""

    def encode(some: Ints) -> list[bytes]:
        return [codec.encode(one) for one in pictures.pixels(indices[some])]

    done = on_all_cores(encode, portions(len(indices)))
    return [payload for part in done for payload in part]


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
    aspects: Aspects | None = None
    """(N,) width over height of whole pictures, squeezed into the square; None where they come as
    the test sees them."""

    @classmethod
    def of(cls, pictures: Split, codec: ImageCodec) -> "EncodedPictures":
        """Encode pictures, of which few are decoded at the same time."""
        size, aspects = pictures.preprocessing.image_size_px, pictures.aspects
        payloads = encoded(pictures, codec, np.arange(len(pictures)))
        return cls(payloads, codec, size, codec.shared_header(size), aspects)

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
    aspects: tuple[tuple[float, ...], ...] = ()
    """Width over height of each, likewise by class, where `has_aspects`; nothing elsewhere."""

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
        return self._encoded(payloads, [aspect for row in self.aspects for aspect in row])

    def _encoded(self, payloads: Sequence[bytes], aspects: Sequence[float]) -> EncodedPictures:
        known = np.array(aspects, np.float32) if has_aspects(self.image_size_px) else None
        encoded = (self.codec, self.image_size_px, self.shared_header)
        return EncodedPictures(payloads, *encoded, known)

    def pixels(self, indices: Ints | None = None) -> Pixels:
        """The exemplars at `indices` (all if None), decoded, (n, S, S, 3), in that order.

        Raises:
            StateCorruptError: a payload is altered.
        """
        return self.pictures.pixels(indices)

    def by_class(self) -> list[EncodedPictures]:
        """The exemplars of each class, in herding order."""
        aspects = self.aspects or [()] * len(self.payloads)
        return [self._encoded(*of_class) for of_class in zip(self.payloads, aspects, strict=True)]

    def require_own_header(self) -> None:
        """Refuse exemplars that no new ones can join.

        Raises:
            StateError: the installed Pillow gives another shared header than the set has.
        """
        if self.shared_header != self.codec.shared_header(self.image_size_px):
            raise StateError(
                f"the exemplars' {self.codec.name} header was written by another version of "
                "Pillow, and new exemplars cannot share it; install the version that "
                "results.json of the run names"
            )

    def with_new_classes(
        self,
        payloads: Iterable[Sequence[bytes]],
        aspects: Iterable[Sequence[float]] | None = None,
    ) -> "ExemplarSet":
        """The set with classes C, C+1, ... appended, their images encoded by the set's codec.

        Args:
            payloads: the images of each new class.
            aspects: width over height of each, where `has_aspects`; None for squares.

        Raises:
            StateError: the installed Pillow gives another shared header than the set has.
        """
        new = [tuple(images) for images in payloads]
        if any(new):
            self.require_own_header()
        all_payloads = (*self.payloads, *new)
        if not has_aspects(self.image_size_px):
            return replace(self, payloads=all_payloads)
        shapes = _squares(new) if aspects is None else [tuple(map(float, a)) for a in aspects]
        return replace(self, payloads=all_payloads, aspects=(*self.aspects, *shapes))

    def recoded(self, codec: ImageCodec) -> "ExemplarSet":
        """The set with its images, as they are decoded, encoded by another codec."""
        if codec.name == self.codec.name:
            return self
        payloads = tuple(
            tuple(encoded(pictures, codec, np.arange(len(pictures))))
            for pictures in self.by_class()
        )
        header = codec.shared_header(self.image_size_px)
        return replace(self, codec=codec, payloads=payloads, shared_header=header)

    def truncate(self, counts: Sequence[int] | Ints) -> "ExemplarSet":
        """The set with the first `counts[c]` exemplars of each class c."""
        payloads, aspects = self.payloads, self.aspects
        kept = tuple(row[:count] for row, count in zip(payloads, counts, strict=True))
        shapes = [row[:count] for row, count in zip(aspects, counts, strict=bool(aspects))]
        return replace(self, payloads=kept, aspects=tuple(shapes))

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
            "aspects": np.array([aspect for row in self.aspects for aspect in row]),
        }
        shapes = Size.of(lengths, self.codec, self.image_size_px).shapes()
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
        aspects = tensors.pop("aspects", None) if has_aspects(image_size_px) else None
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
        ends = [*pairwise(accumulate(counts, initial=0))]
        classes = tuple(tuple(images[a:b]) for a, b in ends)
        shared = tensors["shared"].tobytes() if optional["shared"] else b""
        if not has_aspects(image_size_px):
            return cls(codec, image_size_px, classes, shared)
        if aspects is None:
            return cls(codec, image_size_px, classes, shared, _squares(classes))
        if aspects.dtype != np.float32 or len(aspects) != len(images) or not _possible(aspects):
            raise _corrupt(codec)
        shapes = tuple(tuple(aspects[a:b].tolist()) for a, b in ends)
        return cls(codec, image_size_px, classes, shared, shapes)


def _squares(payloads: Iterable[Sequence[bytes]]) -> tuple[tuple[float, ...], ...]:
    """The aspects of exemplars that are squares."""
    return tuple((1.0,) * len(images) for images in payloads)


def _possible(aspects: Array) -> bool:
    return bool((np.isfinite(aspects) & (aspects > 0)).all())


def _as_array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _corrupt(codec: ImageCodec) -> StateCorruptError:
    return StateCorruptError(
        f"the file of exemplars is altered, or its images are not {codec.name}; "
        "restore the state from a copy, or train again"
    )
