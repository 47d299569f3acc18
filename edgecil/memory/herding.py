"""Herding: an order of a class's images in which every prefix keeps close to the class's mean."""

import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.errors import TrainingError

_TIE = 1e-9
"""Costs closer than this are a tie: sums in another order must not change what is chosen."""


def herd(features: Tensor, count: int) -> Tensor:
    """Choose images one by one, each such that the mean of all chosen comes closest to the mean.

    Features are scaled to unit length, and mu is their mean (not scaled again). With S the sum of
    what is chosen so far, the k-th choice is the v, not chosen yet, that minimises
    ||mu - (S + v)/k||; of equals, the one with the lowest index. So a longer choice begins with a
    shorter one, and cutting it keeps the best.

    Source: Rebuffi et al., "iCaRL", CVPR 2017, algorithm 4, as PyCIL's `models/base.py` has it.

    Args:
        features: one row an image, (n, d), on any device.
        count: how many to choose; all are if there are fewer.

    Returns:
        Indices into `features` in the order of choice, int64, on the CPU.

    Raises:
        TrainingError: a feature is not a finite number.
    """
    if not bool(torch.isfinite(features).all()):
        raise TrainingError(
            "the network's features are not finite numbers; "
            "begin another run with a lower --learning-rate"
        )
    vectors = F.normalize(features.detach().to("cpu", torch.float64), dim=1)
    # k^2 ||mu - (S + v)/k||^2 = ||k mu - S||^2 + ||v||^2 + 2 v.S - 2 k v.mu, the first term of
    # which is the same for every v. `costs` holds the next two for all v, infinite once chosen.
    costs = vectors.square().sum(dim=1)
    towards_mean = 2 * (vectors @ vectors.mean(dim=0))
    chosen: list[int] = []
    for k in range(1, min(count, len(vectors)) + 1):
        now = costs - k * towards_mean
        best = int((now <= now.min() + _TIE).int().argmax())
        chosen.append(best)
        costs += 2 * (vectors @ vectors[best])
        costs[best] = torch.inf
    return torch.tensor(chosen, dtype=torch.int64)
