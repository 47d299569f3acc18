"""CKA against HSIC as its definition has it: a mean over all quadruples of images, in float64."""

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecil.analysis.cka import MinibatchCKA, gram, unbiased_hsic

Doubles = NDArray[np.float64]


def drawn(seed: int, images: int, *shape: int) -> torch.Tensor:
    return torch.randn(images, *shape, generator=torch.Generator().manual_seed(seed))


def hsic_by_quadruples(first: Doubles, second: Doubles) -> float:
    """E[k(x,x') l(y,y')] + E[k] E[l] - 2 E[k(x,x') l(y,y'')], no image taken twice."""
    k, m = first @ first.T, second @ second.T
    terms = [
        k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        for i, j, q, r in permutations(range(len(first)), 4)
    ]
    return float(np.mean(terms))


def doubles(features: torch.Tensor) -> Doubles:
    return features.flatten(1).double().numpy()


def test_hsic_is_the_mean_over_all_quadruples_of_images() -> None:
    first, second = drawn(1, 8, 5, 2, 2) + 3, drawn(2, 8, 3)
    second[:, 0] += first[:, 0, 0, 0]
    expected = hsic_by_quadruples(doubles(first), doubles(second))
    assert unbiased_hsic(gram(first), gram(second)) == pytest.approx(expected, rel=1e-5)


def test_cka_of_two_batches_averages_hsic_and_not_cka() -> None:
    maps = [[drawn(10 * batch + s, 7, 4, 2, 2) for s in range(3)] for batch in range(2)]
    for batch in maps:
        batch[1] += batch[0]
    cka = MinibatchCKA(3)
    for batch in maps:
        cka.add([gram(features) for features in batch])
    hsic = np.array(
        [
            [sum(hsic_by_quadruples(doubles(b[i]), doubles(b[j])) for b in maps) for j in range(3)]
            for i in range(3)
        ]
    )
    expected = hsic / np.sqrt(np.outer(np.diag(hsic), np.diag(hsic)))
    np.testing.assert_allclose(cka.matrix(), expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(cka.matrix(), cka.matrix().T)


def test_many_images_agree_with_the_textbook_formula_of_few_features() -> None:
    """||Y'X||^2 / (||X'X|| ||Y'Y||), Kornblith et al. (2019), of 20,000 images."""
    first = drawn(1, 20_000, 6)
    second = first @ drawn(2, 6, 6) + 0.5 * drawn(3, 20_000, 6)
    x, y = (doubles(features) - doubles(features).mean(0) for features in (first, second))
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    cka = MinibatchCKA(2)
    for start in range(0, 20_000, 250):
        cka.add([gram(one[start : start + 250]) for one in (first, second)])
    assert cka.matrix()[0, 1] == pytest.approx(expected, abs=0.01)


def test_unrelated_maps_of_many_features_are_not_taken_for_alike() -> None:
    """The usual estimate would say 0.95 and more."""
    cka = MinibatchCKA(2)
    for batch in range(4):
        cka.add([gram(drawn(2 * batch + s, 100, 2000)) for s in range(2)])
    assert abs(cka.matrix()[0, 1]) < 0.05


def test_rotation_scale_and_shift_do_not_matter() -> None:
    features = drawn(1, 50, 8)
    rotation, _ = torch.linalg.qr(drawn(2, 8, 8))
    cka = MinibatchCKA(2)
    cka.add([gram(features), gram(3 * features @ rotation + 5)])
    np.testing.assert_allclose(cka.matrix(), 1, atol=1e-5)


def test_features_that_do_not_vary_have_no_similarity() -> None:
    cka = MinibatchCKA(2)
    cka.add([gram(drawn(1, 10, 4)), gram(torch.ones(10, 4))])
    found = cka.matrix()
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[0, 1])
