"""What a bundle tells of its own classes, or what can be guessed where it is silent."""

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.teaching.head import Covariance, Floats, KnownClasses

_GUESSED_SHRINKAGE = 0.0
_GUESSED_TAU = 0.5


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
        features: (G, F) of some pictures of whatever the device sees: golden samples, and what was
            taught.
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
