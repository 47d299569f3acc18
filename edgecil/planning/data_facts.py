"""What planning must know of a data set: taken from the data, or known without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np

from edgecil.data import HeldOut, ImageDataset
from edgecil.data.cifar100 import IMAGE_SIZE_PX, MEAN, STD
from edgecil.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from edgecil.memory.codecs import ImageCodec, Pixels, codec_named
from edgecil.planning.protocols import Protocol

SAMPLED_PICTURES = 128
"""Pictures that are encoded to learn how many bytes an exemplar takes."""

# Mean bytes an exemplar over 2,000 training pictures of CIFAR-100, by quality (Pillow 13.0).
_CIFAR100_BYTES = {
    "webp": {50: 236, 75: 306, 85: 431, 95: 692},
    "jpeg": {50: 245, 75: 365, 85: 490, 95: 861},
}
_CIFAR100_LOSSLESS_BYTES = 1727


@dataclass(frozen=True)
class DataFacts:
    """What the planner and a run's settings take from a data set."""

    classes: tuple[str, ...]
    """Names; a label is an index into them."""
    image_size_px: int
    """Side of the pictures."""
    shorter_side_px: int | None
    """What the test's shorter side is resized to before its middle is cut out; None for no more."""
    images_per_class: int
    """Training pictures of the largest class."""
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


def facts_of(dataset: ImageDataset, codecs: Sequence[str]) -> DataFacts:
    """The facts of a data set whose exemplars may be encoded by any of `codecs`.

    Their mean size is that of a sample spread evenly over the training pictures.
    """
    count = min(SAMPLED_PICTURES, len(dataset.train))
    sample = np.linspace(0, len(dataset.train) - 1, count).astype(np.int64)
    pixels = dataset.train.pixels(sample)
    return DataFacts(
        classes=dataset.classes,
        image_size_px=dataset.image_size_px,
        shorter_side_px=dataset.test.preprocessing.shorter_side_px,
        images_per_class=int(np.bincount(dataset.train.labels).max()),
        exemplar_bytes={name: _mean_bytes(codec_named(name), pixels) for name in codecs},
        mean=dataset.mean,
        std=dataset.std,
        mirrors=dataset.mirrors,
        fingerprint=dataset.fingerprint,
        held_out=dataset.held_out,
        pictures=_counts(dataset),
    )


def _counts(dataset: ImageDataset) -> dict[str, int]:
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    counts = np.bincount(labels, minlength=len(dataset.classes)).tolist()
    return dict(zip(dataset.classes, counts, strict=True))


def _mean_bytes(codec: ImageCodec, pixels: Pixels) -> float:
    return mean(len(payload) for payload in codec.encode_many(pixels))


def cifar100_facts(codecs: Sequence[str]) -> DataFacts:
    """The facts of CIFAR-100 where its files are not at hand, for planning only."""
    return DataFacts(
        classes=tuple(f"class-{label:02d}" for label in range(100)),
        image_size_px=IMAGE_SIZE_PX,
        shorter_side_px=None,
        images_per_class=500,
        exemplar_bytes={name: _assumed_bytes(name, IMAGE_SIZE_PX) for name in codecs},
        mean=MEAN,
        std=STD,
        mirrors=True,
        fingerprint="",
    )


def imagenet_facts(protocol: Protocol, codecs: Sequence[str]) -> DataFacts:
    """The facts of a protocol on ImageNet where its files are not at hand, for planning only.

    Pictures count as many encoded bytes a pixel as those of CIFAR-100. Larger ones take fewer, so
    there will be room for more exemplars than this lets a plan say.
    """
    size_px = protocol.images.image_size_px
    return DataFacts(
        classes=tuple(f"n{label:08d}" for label in range(protocol.class_count)),
        image_size_px=size_px,
        shorter_side_px=protocol.images.shorter_side_px,
        images_per_class=protocol.images.images_per_class,
        exemplar_bytes={name: _assumed_bytes(name, size_px) for name in codecs},
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        mirrors=True,
        fingerprint="",
    )


def _assumed_bytes(codec_name: str, image_size_px: int) -> float:
    """Mean bytes of an encoded picture that encodes like CIFAR-100's."""
    codec = codec_named(codec_name)
    if (exact_bytes := codec.payload_bytes(image_size_px)) is not None:
        return exact_bytes
    pixels = (image_size_px / IMAGE_SIZE_PX) ** 2
    if codec.lossless:
        return _CIFAR100_LOSSLESS_BYTES * pixels
    kind, quality = codec.name.split(":")
    table = _CIFAR100_BYTES[kind]
    return float(np.interp(float(quality), [*table], [*table.values()])) * pixels


def is_absent(data: str, data_dir: Path) -> bool:
    """Whether `data` is CIFAR-100 and would have to be downloaded."""
    return data == "cifar100" and not (data_dir / "cifar-100-python" / "train").exists()
