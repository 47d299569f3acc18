"""CIFAR-100: 100 classes, 500 pictures of 32x32 pixels each to learn from and 100 to test on."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from edgecil.data.built_in import BuiltIn, EncodedSizes, KnownData
from edgecil.data.datasets import ImageDataset, Split, fingerprint_of
from edgecil.errors import DataError, MissingExtraError, UsageError
from edgecil_devices.files import FULL
from edgecil_devices.images import Preprocessing

IMAGE_SIZE_PX = 32
MEAN = (0.5071, 0.4867, 0.4408)
STD = (0.2675, 0.2565, 0.2761)

KNOWN = KnownData(
    classes=tuple(f"class-{label:02d}" for label in range(100)),
    image_size_px=IMAGE_SIZE_PX,
    images_per_class=500,
    mean=MEAN,
    std=STD,
    encoded=EncodedSizes(  # over 2,000 training pictures (Pillow 13.0)
        image_size_px=IMAGE_SIZE_PX,
        lossless=1727,
        lossy={
            "webp": {50: 236, 75: 306, 85: 431, 95: 692},
            "jpeg": {50: 245, 75: 365, 85: 490, 95: 861},
        },
    ),
)
"""What a plan says of it where its files are not at hand."""


def load_cifar100(data_dir: Path, image_size_px: int | None = None) -> ImageDataset:
    """Read CIFAR-100 from `data_dir/cifar-100-python`; it is downloaded when it is not there.

    Args:
        data_dir: the folder that holds `cifar-100-python`, or will.
        image_size_px: None or 32.

    Raises:
        DataError: it is not there and cannot be downloaded.
        MissingExtraError: torchvision is not installed.
        UsageError: another size is asked for.
    """
    if image_size_px not in (None, IMAGE_SIZE_PX):
        raise UsageError(
            f"cifar100 has pictures of {IMAGE_SIZE_PX} pixels, not {image_size_px}; "
            "leave out --image-size"
        )
    train, test = _open(data_dir, is_train=True), _open(data_dir, is_train=False)
    classes = tuple(str(name) for name in train.classes)
    preprocessing = Preprocessing(IMAGE_SIZE_PX)
    splits = [
        Split(part.data, np.asarray(part.targets, dtype=np.int64), preprocessing)
        for part in (train, test)
    ]
    return ImageDataset(
        name=CIFAR100.name,
        classes=classes,
        train=splits[0],
        test=splits[1],
        image_size_px=IMAGE_SIZE_PX,
        mean=MEAN,
        std=STD,
        fingerprint=fingerprint_of(classes, *splits),
    )


def _open(data_dir: Path, *, is_train: bool) -> Any:
    try:
        from torchvision.datasets import CIFAR100
    except ImportError:
        raise MissingExtraError("cifar100", "train") from None
    with warnings.catch_warnings():
        # The files are pickles of an old NumPy, and a new one grumbles about their alignment flag.
        warnings.filterwarnings("ignore", message=".*align should be passed as.*")
        try:
            return CIFAR100(str(data_dir), train=is_train)
        except RuntimeError:  # not there, or not whole
            pass
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            return CIFAR100(str(data_dir), train=is_train, download=True)
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                error.filename = str(data_dir)
                raise
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"cifar100 is not in {data_dir} and cannot be downloaded there ({reason}); "
                "give the folder that holds cifar-100-python with --data-dir or EDGECIL_DATA"
            ) from error


CIFAR100 = BuiltIn(
    "cifar100",
    load=lambda data_dir, image_size_px, _: load_cifar100(data_dir, image_size_px),
    is_here=lambda data_dir: (data_dir / "cifar-100-python" / "train").exists(),
    known=KNOWN,
)
