"""Which blocks of a network are merged: those that the others can best stand for.

Leaving a block out is tried on exemplars, at the price of a linear fit: the head is fitted anew to
the features that are left, by ridge regression on two thirds of each class's exemplars, to give the
logits that the whole network gives; on the last third it is measured how far the answers then are
from the network's. The block whose absence costs least goes, one after the other, and joins the
block whose features are most like its own (linear CKA: Kornblith et al., ICML 2019), from which the
merged block starts; training makes good what a linear fit cannot.

Shapes: N exemplars, K blocks, D features a block, C classes, F features of the blocks at hand.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgecil.methods.block_merge import BlockMerge

Floats = NDArray[np.float64]

MOST_PICTURES = 4000
"""Exemplars that are looked at, the same number of each class."""
_HELD_OUT = 3
"""Every third exemplar of a class is measured on and not fitted to."""
_RIDGE = 1e-3
"""Of the mean square of a feature."""


def chosen_merge(
    features: Floats, labels: NDArray[np.int64], head: Floats, kept: int
) -> BlockMerge:
    """Which blocks stand for which, so that `kept` of them are left.

    Args:
        features: (N, K, D), of exemplars, class by class.
        labels: (N,).
        head: (C, K * D + 1), weights and bias of the head that the network has.
        kept: blocks that stay, 1 to K.
    """
    count, blocks, size = features.shape
    whole = features.reshape(count, blocks * size)
    wanted = whole @ head[:, :-1].T + head[:, -1]  # (N, C)
    fitted = np.ones(count, bool)
    for label in np.unique(labels):
        fitted[np.flatnonzero(labels == label)[_HELD_OUT - 1 :: _HELD_OUT]] = False
    left = list(range(blocks))
    while len(left) > kept:
        costs = [
            _cost(whole, wanted, labels, fitted, _columns(_without(left, k), size)) for k in left
        ]
        left.remove(left[int(np.argmin(costs))])
    groups = {k: [k] for k in left}
    for gone in set(range(blocks)) - set(left):
        likeness = [linear_cka(features[:, gone], features[:, k]) for k in left]
        groups[left[int(np.argmax(likeness))]].append(gone)
    ordered = sorted(groups.values(), key=max)
    columns = np.concatenate([_columns([group[0]], size) for group in ordered])
    rows = _fit(whole[:, columns], wanted)  # (F + 1, C)
    return BlockMerge(
        tuple((group[0], *sorted(group[1:])) for group in ordered),
        torch.from_numpy(rows[:-1].T).float(),
        torch.from_numpy(rows[-1]).float(),
    )


def linear_cka(one: Floats, other: Floats) -> float:
    """How alike two sets of features (N, D) of the same pictures are: 0 to 1.

    Source: Kornblith et al., ICML 2019, equation 5; 0 where a set does not vary.
    """
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    both = float(np.square(other.T @ one).sum())
    own = float(np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other))
    return both / own if own else 0.0


def _without(blocks: Sequence[int], gone: int) -> list[int]:
    return [k for k in blocks if k != gone]


def _columns(blocks: Sequence[int], size: int) -> NDArray[np.int64]:
    """Where the features of blocks stand among all, (F,)."""
    return np.concatenate([np.arange(k * size, (k + 1) * size) for k in blocks])


def _fit(features: Floats, wanted: Floats) -> Floats:
    """Weights, and a bias as the last row, by ridge regression: (F + 1, C)."""
    means = features.mean(axis=0)
    centred = features - means
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += _RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    weights = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean(axis=0)))
    return np.vstack([weights, wanted.mean(axis=0) - means @ weights])


def _cost(
    features: Floats,
    wanted: Floats,
    labels: NDArray[np.int64],
    fitted: NDArray[np.bool_],
    columns: NDArray[np.int64],
) -> float:
    """How far answers from some features are from the network's: Kullback-Leibler divergence.

    The mean over held-out exemplars, of each class first.
    """
    some = features[:, columns]
    rows = _fit(some[fitted], wanted[fitted])
    measured = ~fitted if not fitted.all() else fitted  # too few to hold any out
    given = _log_softmax(some[measured] @ rows[:-1] + rows[-1])
    right = _log_softmax(wanted[measured])
    apart = np.sum(np.exp(right) * (right - given), axis=1)
    of_classes = labels[measured]
    return float(np.mean([apart[of_classes == label].mean() for label in np.unique(of_classes)]))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
