import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecil.errors import TrainingError
from edgecil.memory.herding import herd


def distances(vectors: NDArray[np.float64], chosen: list[int]) -> NDArray[np.float64]:
    """||mu - mean(chosen and v)|| for every v, infinite for those chosen, straight from the text.

    Rows are normalised one at a time, and every mean is taken anew.
    """
    unit = np.stack([v / math.sqrt(math.fsum(v * v)) for v in vectors])
    mean = unit.mean(axis=0)
    return np.array(
        [
            math.inf if i in chosen else np.linalg.norm(mean - unit[[*chosen, i]].mean(axis=0))
            for i in range(len(unit))
        ]
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25), d=st.integers(1, 12))
def test_every_choice_brings_the_mean_closest(seed: int, n: int, d: int) -> None:
    vectors = np.abs(np.random.default_rng(seed).standard_normal((n, d))) + 0.01
    chosen = herd(torch.from_numpy(vectors).float(), n).tolist()
    vectors = vectors.astype(np.float32).astype(np.float64)
    assert sorted(chosen) == list(range(n))
    for k in range(n):
        found = distances(vectors, chosen[:k])
        # With few dimensions many are equally far, so the distance counts and not the index.
        assert found[chosen[k]] <= found.min() + 1e-8


def test_the_order_is_that_of_a_slow_reference() -> None:
    vectors = np.abs(np.random.default_rng(3).standard_normal((60, 64)))
    expected: list[int] = []
    for _ in range(60):
        expected.append(int(np.argmin(distances(vectors, expected))))
    assert herd(torch.from_numpy(vectors), 60).tolist() == expected


def test_a_longer_choice_begins_with_a_shorter_one() -> None:
    features = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    assert herd(features, 40)[:7].tolist() == herd(features, 7).tolist()


def test_of_equals_the_first_is_chosen_and_none_twice() -> None:
    # 37 copies: enough for vectorised sums to treat some rows differently from others.
    features = torch.rand(1, 50, generator=torch.Generator().manual_seed(0)).expand(37, 50)
    assert herd(features, 37).tolist() == list(range(37))


def test_only_directions_count() -> None:
    features = torch.rand(30, 8, generator=torch.Generator().manual_seed(0))
    lengths = torch.logspace(-3, 3, 30).unsqueeze(1)
    assert herd(features * lengths, 30).tolist() == herd(features, 30).tolist()


def test_dead_features_are_no_obstacle() -> None:
    features = torch.zeros(4, 3)
    features[2] = torch.tensor([3.0, 4.0, 0.0])
    assert herd(features, 4).tolist()[0] != 2  # a zero is closer to mu = v/4 than v is
    assert sorted(herd(features, 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("count", "chosen"), [(0, 0), (2, 2), (3, 3), (10, 3)])
def test_at_most_all_are_chosen(count: int, chosen: int) -> None:
    assert len(herd(torch.eye(3), count)) == chosen


def test_features_and_their_gradients_stay_as_they_are() -> None:
    features = torch.rand(5, 3, requires_grad=True)
    before = features.detach().clone()
    assert not herd(features, 5).requires_grad
    assert torch.equal(features.detach(), before)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features = torch.ones(3, 3)
    features[1, 1] = value
    with pytest.raises(TrainingError, match="begin another run with a lower --learning-rate"):
        herd(features, 2)
