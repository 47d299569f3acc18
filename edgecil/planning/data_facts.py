"""What planning must know of a data set: taken from the data, or known without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median_high

import numpy as np

from edgecil.data import HeldOut, ImageDataset
from edgecil.data.built_in import EncodedSizes, KnownData
from edgecil.data.cifar100 import KNOWN as CIFAR100
from edgecil.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from edgecil.errors import DataError
from edgecil.memory.codecs import ImageCodec, Pixels, codec_named
from edgecil.planning.protocols import Protocol

SAMPLED_PICTURES = 128
"""Pictures that are encoded to learn how many bytes an exemplar takes."""


@dataclass(frozen=True)
class DataFacts:
    """What the planner and a run's settings take from a data set."""

    classes: tuple[str, ...]
    """Names; a label is an index into them."""
    image_size_px: int
    """Side of the pictures."""
    shorter_side_px: int | None
    """What the test's shorter side is resized to before its middle is cut out; None for no more."""
    class_pictures: tuple[int, ...]
    """Training pictures of each class."""
    exemplar_bytes: dict[str, float]
    """Mean bytes of an encoded picture, by codec."""
    mean: tuple[float, float, float]
    """Channel means, of pixels in [0, 1]."""
    std: tuple[float, float, float]
    """Channel standard deviations, likewise."""
    mirrors: bool
    """Whether a picture still shows its class in a mirror."""
    fingerprint: str
    """Digest of the data."""
    held_out: HeldOut | None = None
    """How test pictures were drawn; None where the data came with a test split."""
    pictures: Mapping[str, int] = field(default_factory=dict)
    """Pictures of each class, those for the test included; empty where the data are not at hand."""
    test_pictures: int = 0
    """Of all classes together, as far as that is known."""

    @property
    def pictures_per_class(self) -> int:
        """Training pictures of a class as most are: half of the others have no more."""
        return median_high(self.class_pictures)


def facts_of(dataset: ImageDataset, codecs: Sequence[str]) -> DataFacts:
    """The facts of a data set whose exemplars may be encoded by any of `codecs`.

    Their mean size is that of a sample spread evenly over the training pictures.
    """
    if not len(dataset.train):
        raise DataError("all pictures are kept for the test, none to learn from; lower --holdout")
    count = min(SAMPLED_PICTURES, len(dataset.train))
    sample = np.linspace(0, len(dataset.train) - 1, count).astype(np.int64)
    pixels = dataset.train.pixels(sample)
    in_training = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    return DataFacts(
        classes=dataset.classes,
        image_size_px=dataset.image_size_px,
        shorter_side_px=dataset.test.preprocessing.shorter_side_px,
        class_pictures=tuple(in_training.tolist()),
        exemplar_bytes={name: _mean_bytes(codec_named(name), pixels) for name in codecs},
        mean=dataset.mean,
        std=dataset.std,
        mirrors=dataset.mirrors,
        fingerprint=dataset.fingerprint,
        held_out=dataset.held_out,
        pictures=_counts(dataset),
        test_pictures=len(dataset.test),
    )


def _counts(dataset: ImageDataset) -> dict[str, int]:
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    counts = np.bincount(labels, minlength=len(dataset.classes)).tolist()
    return dict(zip(dataset.classes, counts, strict=True))


def _mean_bytes(codec: ImageCodec, pixels: Pixels) -> float:
    return mean(len(payload) for payload in codec.encode_many(pixels))


def facts_without_data(known: KnownData, codecs: Sequence[str]) -> DataFacts:
    """The facts of a data set whose files are not at hand, for planning only."""
    return DataFacts(
        classes=known.classes,
        image_size_px=known.image_size_px,
        shorter_side_px=known.shorter_side_px,
        class_pictures=(known.images_per_class,) * len(known.classes),
        exemplar_bytes={
            name: _assumed_bytes(codec_named(name), known.encoded, known.image_size_px)
            for name in codecs
        },
        mean=known.mean,
        std=known.std,
        mirrors=known.mirrors,
        fingerprint="",
    )


def imagenet_facts(protocol: Protocol, codecs: Sequence[str]) -> DataFacts:
    """The facts of a protocol on ImageNet where its files are not at hand, for planning only.

    Pictures count as many encoded bytes a pixel as those of CIFAR-100. Larger ones take fewer, so
    there will be room for more exemplars than this lets a plan say.
    """
    images = protocol.images
    known = KnownData(
        classes=tuple(f"n{label:08d}" for label in range(protocol.class_count)),
        image_size_px=images.image_size_px,
        shorter_side_px=images.shorter_side_px,
        images_per_class=images.images_per_class,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        encoded=CIFAR100.encoded,
    )
    return facts_without_data(known, codecs)


def _assumed_bytes(codec: ImageCodec, encoded: EncodedSizes, image_size_px: int) -> float:
    """Mean bytes of a picture that takes as many encoded bytes a pixel as others do."""
    if (exact_bytes := codec.payload_bytes(image_size_px)) is not None:
        return exact_bytes
    pixels = (image_size_px / encoded.image_size_px) ** 2
    if codec.lossless:
        return encoded.lossless * pixels
    kind, quality = codec.name.split(":")
    table = encoded.lossy[kind]
    return float(np.interp(float(quality), [*table], [*table.values()])) * pixels
