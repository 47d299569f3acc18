"""What a bundle tells of its own classes, or what can be guessed where it is silent."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices.closed_form import Floats
from edgecil_devices.teaching.head import Covariance, KnownClasses

_GUESSED_SHRINKAGE = 0.0
_GUESSED_TAU = 0.5
_SMOOTH = Image.Resampling.BILINEAR


def blots(size_px: int) -> NDArray[np.uint8]:
    """Pictures of coloured blots, (16, S, S, 3), always the same.

    Where there are no better, they show how far features spread.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), np.uint8)
    images = (Image.fromarray(one).resize((size_px, size_px), _SMOOTH) for one in coarse)
    return np.stack([np.asarray(image) for image in images])


def guessed_classes(
    weight: NDArray[np.float32], bias: NDArray[np.float32], features: NDArray[np.float32]
) -> KnownClasses:
    """The release's classes as its head alone has them: worse than statistics, better than nothing.

    If features of a class were normal around its mean, all with one spherical covariance v I, the
    best linear head would have rows m_c / v but for a common part. So the rows, without their mean,
    stand for the means without theirs. The mean of all and v are taken from a few features.

    Args:
        weight: (F, C), the head's.
        bias: (C,), the head's.
        features: (G, F) of several pictures: golden samples, and blots.
    """
    rows: Floats = weight.T.astype(np.float64)
    centre: Floats = features.mean(axis=0).astype(np.float64)
    away = rows - rows.mean(axis=0)
    # The variance of features is v and, between the means, v^2 times that of the rows: find v.
    total = max(float(np.mean((features - centre) ** 2)), 1e-12)
    between = float(np.mean(away**2))
    variance = (np.sqrt(1 + 4 * between * total) - 1) / (2 * between) if between > 0 else total
    size = len(centre)
    counts = np.full(len(bias), 100.0)
    return KnownClasses(
        centre + variance * away,
        counts,
        Covariance(np.zeros((0, size)), variance),
        _GUESSED_SHRINKAGE,
        _GUESSED_TAU,
    )
