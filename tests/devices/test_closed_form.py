"""The closed form against the textbook: covariances class by class, and densities of Gaussians."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecil_devices.closed_form import ClassStatistics

Floats = NDArray[np.float64]

F = 6


def pictures_of(count: int, label: int, spread: float = 2.0) -> Floats:
    """Features of a class, correlated, around a mean of their own."""
    draw = np.random.default_rng([count, label])
    mixed = np.random.default_rng(7).normal(size=(F, F))
    mean: Floats = np.random.default_rng([label]).normal(size=F) * spread + 5
    return mean + draw.normal(size=(count, F)) @ mixed


def of(classes: list[Floats]) -> ClassStatistics:
    statistics = ClassStatistics.empty(F)
    for label, features in enumerate(classes):
        statistics = statistics.added(features, label)
    return statistics


CLASSES = [pictures_of(count, label) for label, count in enumerate((30, 8, 3, 1))]


def test_means_and_the_pooled_covariance_are_the_textbook_s() -> None:
    statistics = of(CLASSES)
    assert statistics.counts.tolist() == [30, 8, 3, 1]
    for mean, features in zip(statistics.means, CLASSES, strict=True):
        np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-12)
    # np.cov divides by n - 1, so that n - 1 times it is a class's own part.
    pooled = sum((len(x) - 1) * np.cov(x.T) for x in CLASSES[:3]) / (30 + 8 + 3 + 1 - 4)
    np.testing.assert_allclose(statistics.covariance, pooled, rtol=1e-10)


def gaussian_log_densities(x: Floats, means: Floats, covariance: Floats) -> Floats:
    """(N, F), (C, F), (F, F) -> (N, C), without the constant; picture by picture."""
    inverse = np.linalg.inv(covariance)
    return np.array([[-(one - mean) @ inverse @ (one - mean) / 2 for mean in means] for one in x])


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
def test_the_head_tells_classes_apart_as_gaussians_of_shrunk_means_do(shrinkage: float) -> None:
    statistics = of(CLASSES)
    means = np.array([x.mean(axis=0) for x in CLASSES])
    covariance = statistics.covariance
    trace, centre = sum(np.linalg.eigvalsh(covariance)), means.mean(axis=0)
    between = np.mean([np.linalg.norm(mean - centre) ** 2 for mean in means])
    noise = trace / (between - trace * np.mean([1 / 30, 1 / 8, 1 / 3, 1]))
    assert noise > 0
    shrunk = [
        centre + n / (n + noise) * (mean - centre)
        for n, mean in zip((30, 8, 3, 1), means, strict=True)
    ]
    drawn = (1 - shrinkage) * covariance + shrinkage * trace / F * np.eye(F)
    x = np.concatenate(CLASSES)[::3]
    expected = gaussian_log_densities(x, np.array(shrunk), drawn)

    weight, bias = statistics.head(shrinkage)
    found = x @ weight.T + bias
    # What all classes of a picture have in common says nothing of its class.
    expected -= expected.mean(axis=1, keepdims=True)
    found -= found.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_the_order_of_classes_changes_nothing_but_the_last_digits_of_the_covariance() -> None:
    alone = [of([features]) for features in CLASSES[:3]]
    for order in itertools.permutations(range(3)):
        statistics = ClassStatistics.empty(F)
        for label in order:
            means = np.zeros((label + 1, F))
            means[label] = alone[label].means[0]
            counts = np.zeros(label + 1, np.int64)
            counts[label] = alone[label].counts[0]
            statistics = statistics.merged(ClassStatistics(means, counts, alone[label].scatter))
        assert (statistics.means == of(CLASSES[:3]).means).all()
        assert (statistics.counts == of(CLASSES[:3]).counts).all()
        np.testing.assert_allclose(statistics.scatter, of(CLASSES[:3]).scatter, rtol=1e-13)


def test_more_pictures_of_a_known_class_count_as_if_they_had_come_at_once() -> None:
    at_once = of(CLASSES)
    in_parts = of([CLASSES[0][:3], *CLASSES[1:]]).added(CLASSES[0][3:], 0)
    merged = of([CLASSES[0][:20]]).merged(of([CLASSES[0][20:], *CLASSES[1:]]))
    for found in (in_parts, merged):
        assert (found.counts == at_once.counts).all()
        np.testing.assert_allclose(found.means, at_once.means, rtol=1e-12)
        np.testing.assert_allclose(found.scatter, at_once.scatter, rtol=1e-10)


def test_few_pictures_are_drawn_to_the_middle_and_many_are_not() -> None:
    statistics = of([pictures_of(400, 0), pictures_of(400, 1), pictures_of(2, 2)])
    weight, _ = statistics.head(1.0)  # rows are then multiples of the shrunk means
    apart = statistics.means - statistics.means.mean(axis=0)
    kept = np.linalg.norm(weight, axis=1) / np.linalg.norm(apart, axis=1)
    assert kept[0] == pytest.approx(kept[1], rel=1e-9)
    assert kept[2] < 0.9 * kept[0]


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 1), (5,)])
def test_what_is_hardly_known_gives_a_finite_head(counts: tuple[int, ...]) -> None:
    classes = [pictures_of(count, label, 9.0) for label, count in enumerate(counts)]
    weight, bias = of(classes).head()
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    means = np.array([x.mean(axis=0) for x in classes])
    assert ((means @ weight.T + bias).argmax(axis=1) == np.arange(len(counts))).all()


def test_classes_that_cannot_be_told_apart_are_still_answered_with_finite_numbers() -> None:
    weight, bias = of([np.full((4, F), 2.0), np.full((4, F), 2.0)]).head()
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_all_features_spread_weighs_as_much_as_a_picture_a_feature() -> None:
    statistics = of(CLASSES)
    assert statistics.shrinkage == pytest.approx(6 / (6 + 29 + 7 + 2))  # 6 features
    # v S + F tr(S)/F I, divided by the weight of both: S is drawn by F pictures of equal spread.
    covariance, trace = statistics.covariance, float(np.trace(statistics.covariance))
    drawn = (38 * covariance + trace * np.eye(F)) / 44
    apart = statistics.means - statistics.means.mean(axis=0)
    between = np.mean(np.linalg.norm(apart, axis=1) ** 2)
    noise = trace / (between - trace * np.mean([1 / 30, 1 / 8, 1 / 3, 1]))
    counts = np.array([[30.0], [8.0], [3.0], [1.0]])
    rows = (counts / (counts + noise) * apart) @ np.linalg.inv(drawn)
    np.testing.assert_allclose(statistics.head()[0], rows, rtol=1e-9)


def test_where_nothing_is_known_of_the_spread_it_is_the_same_everywhere() -> None:
    assert of([pictures_of(1, label) for label in range(3)]).shrinkage == 1.0
    assert ClassStatistics.empty(F).shrinkage == 1.0
