"""Linear CKA between the feature maps of several networks, from minibatches.

Shapes: B images of a batch, F features an image, S networks.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64]

SMALLEST_BATCH = 4
"""The unbiased HSIC takes four images at a time."""


def gram(features: Tensor) -> Doubles:
    """Inner products between the images of a batch: (B, ...) -> (B, B) float64.

    Features are centred first. HSIC is the same without, but loses digits to a large mean.
    """
    flat = features.flatten(1).float()
    centred = flat - flat.mean(dim=0)
    products: Doubles = (centred @ centred.T).cpu().double().numpy()
    return products


def unbiased_hsic(first: Doubles, second: Doubles) -> float:
    """HSIC of two Gram matrices (B, B), estimated without bias.

    The usual estimate counts every image's product with itself, which makes any two feature maps
    of more features than images look alike: shallow layers, which have most, above all. Source:
    equation 5 of Song et al., "Feature Selection via Dependence Maximization" (JMLR 2012).
    """
    count = len(first)
    k, m = first.copy(), second.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    whole = k.sum() * m.sum() / ((count - 1) * (count - 2))
    rows = 2 * (k.sum(axis=0) @ m.sum(axis=0)) / (count - 2)
    return float(((k * m).sum() + whole - rows) / (count * (count - 3)))


class MinibatchCKA:
    """Linear CKA between S networks' feature maps of the same images, (S, S).

    HSIC is averaged over batches before CKA is formed, so memory holds one batch, however many
    images there are and features they have (Nguyen et al., ICLR 2021, section 2.2). 1 means equal
    up to rotation and scale, 0 unrelated; noise may carry an estimate a little beyond either.

    Args:
        networks: S.
    """

    def __init__(self, networks: int) -> None:
        self._sums: Doubles = np.zeros((networks, networks))

    def add(self, feature_maps: list[Doubles]) -> None:
        """Count a batch, given as the S networks' Gram matrices (B, B) of at least 4 images."""
        for i, first in enumerate(feature_maps):
            for j, second in enumerate(feature_maps[: i + 1]):
                hsic = unbiased_hsic(first, second)
                self._sums[i, j] += hsic
                if i != j:
                    self._sums[j, i] += hsic

    def matrix(self) -> Doubles:
        """CKA of every pair, (S, S); nan for a network whose features do not vary."""
        norms = np.sqrt(np.clip(np.diagonal(self._sums), 0, None))
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Doubles = self._sums / np.outer(norms, norms)
        return found
