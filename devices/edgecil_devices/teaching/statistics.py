"""The blob `statistics` of a bundle: what a device must know of old classes to be taught new ones.

Means of all classes and the largest directions of their common covariance are one array of float16,
(C + R, F): the means divided by one number, the directions by another, so that none overflows.
These numbers stand in the manifest, see `TeachingFacts`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.errors import BundleCorruptError
from edgecil_devices.npy import read_npy
from edgecil_devices.teaching.head import Covariance, KnownClasses
from edgecil_devices.teaching_facts import OF_BLOCKS, TeachingFacts

MOST_DIRECTIONS = 64
"""Of the covariance; more were not better."""


def packed(
    known: KnownClasses, features: str = OF_BLOCKS
) -> tuple[NDArray[np.float16], TeachingFacts]:
    """The array of the blob, and what the manifest says of it.

    Args:
        known: of the release.
        features: what they are of, `OF_BLOCKS` or `OF_TRUNK`.
    """
    factors = known.covariance.factors
    scales = [max(float(np.abs(part).max(initial=0)), 1e-30) for part in (known.means, factors)]
    table = np.concatenate([known.means / scales[0], factors / scales[1]]).astype(np.float16)
    facts = TeachingFacts(
        counts=tuple(int(count) for count in known.counts),
        mean_scale=scales[0],
        covariance_scale=scales[1],
        covariance_rest=known.covariance.rest,
        shrinkage=known.shrinkage,
        tau=known.tau,
        rules=known.rules,
        features=features,
    )
    return table, facts


def unpacked(blob: bytes, name: str, facts: TeachingFacts, features: int) -> KnownClasses:
    """The reverse of `packed`.

    Args:
        blob: the NumPy file.
        name: what to call it in messages.
        facts: of the manifest.
        features: F, as many as what they are of has.

    Raises:
        BundleCorruptError: the array has another shape or type, or values that are not finite.
    """
    table: NDArray[Any] = read_npy(blob, name, ("<f2",))
    classes = len(facts.counts)
    fits = table.ndim == 2 and table.shape[1] == features
    if not (fits and classes <= len(table) < classes + min(features, MOST_DIRECTIONS + 1)):
        raise BundleCorruptError(
            f"{name} has shape {table.shape}, not ({classes} to {classes + MOST_DIRECTIONS}, "
            f"{features}); export the bundle again"
        )
    if not np.isfinite(table).all():
        raise BundleCorruptError(f"{name} holds values that are not finite; export it again")
    rows = table.astype(np.float64)
    return KnownClasses(
        rows[:classes] * facts.mean_scale,
        np.array(facts.counts, np.float64),
        Covariance(rows[classes:] * facts.covariance_scale, facts.covariance_rest),
        facts.shrinkage,
        facts.tau,
        facts.rules,
    )
