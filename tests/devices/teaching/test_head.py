"""The closed form beside a trained head, against formulas worked out by explicit matrices."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecil_devices.teaching.head import (
    Covariance,
    KnownClasses,
    Prototype,
    TaughtHead,
    left_out_recognised,
    log_sum_exp,
    taken_from,
)
from edgecil_devices.teaching_facts import CLOSED_FORM

Floats = NDArray[np.float64]
CLASSES, SIZE = 5, 12


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(4)


def dense(covariance: Covariance) -> Floats:
    size = covariance.factors.shape[1]
    return covariance.factors.T @ covariance.factors + covariance.rest * np.eye(size)


@pytest.fixture
def known(random: np.random.Generator) -> KnownClasses:
    directions = random.normal(size=(3, SIZE))
    return KnownClasses(
        means=random.normal(size=(CLASSES, SIZE)) * 3,
        counts=np.array([20.0, 30, 40, 50, 60]),
        covariance=Covariance(directions, 0.3),
        shrinkage=0.2,
        tau=0.5,
    )


def test_a_covariance_of_few_directions_is_the_matrix_where_it_has_no_others(
    random: np.random.Generator,
) -> None:
    values = np.array([9.0, 5, 2, *[0.5] * (SIZE - 3)])
    turned, _ = np.linalg.qr(random.normal(size=(SIZE, SIZE)))
    matrix = (turned * values) @ turned.T
    found = Covariance.of(matrix, 3)
    assert found.factors.shape == (3, SIZE)
    np.testing.assert_allclose(dense(found), matrix, atol=1e-10)
    assert found.trace == pytest.approx(np.trace(matrix))


def test_the_directions_left_out_keep_their_mean_variance(random: np.random.Generator) -> None:
    turned, _ = np.linalg.qr(random.normal(size=(4, 4)))
    found = Covariance.of((turned * np.array([8.0, 4, 3, 1])) @ turned.T, 1)
    assert found.rest == pytest.approx((4 + 3 + 1) / 3)
    assert found.trace == pytest.approx(16)


def test_solving_by_directions_is_solving_with_the_matrix(known: KnownClasses) -> None:
    rows = np.random.default_rng(0).normal(size=(4, SIZE))
    shrunk = known.covariance.drawn_to_its_mean(0.2)
    matrix = 0.8 * dense(known.covariance)
    matrix += 0.2 * np.trace(dense(known.covariance)) / SIZE * np.eye(SIZE)
    np.testing.assert_allclose(dense(shrunk), matrix)
    np.testing.assert_allclose(shrunk.solved(rows), rows @ np.linalg.inv(matrix))


def scores(known: KnownClasses, x: Floats, means: Floats, counts: Floats) -> Floats:
    """The formulas of the module's head, with explicit matrices and loops."""
    cov = dense(known.covariance)
    level = np.trace(cov) / SIZE
    g = sum(known.means) / CLASSES
    spread = np.mean([(m - g) @ (m - g) for m in known.means])
    k = np.trace(cov) / (spread - np.trace(cov) * np.mean([1 / n for n in known.counts]))
    r = known.shrinkage
    inverse = np.linalg.inv((1 - r) * cov + r * level * np.eye(SIZE))
    found = []
    for m, n in zip(means, counts, strict=True):
        shrunk = g + n / (n + k) * (m - g)
        found.append([one @ inverse @ shrunk - shrunk @ inverse @ shrunk / 2 for one in x])
    return np.array(found).T


def test_taught_classes_enter_by_their_odds(
    known: KnownClasses, random: np.random.Generator
) -> None:
    mine, other = random.normal(size=(7, SIZE)), random.normal(size=(2, SIZE)) + 1
    x, z = random.normal(size=(6, SIZE)), random.normal(size=(6, CLASSES))
    head = TaughtHead(known, [Prototype(mine, None), Prototype(other, None)])
    found = head.logits(x.astype(np.float32), z.astype(np.float32))
    z32, x32 = (array.astype(np.float32).astype(np.float64) for array in (z, x))
    s = 0.5 * scores(known, x32, known.means, known.counts)
    t = 0.5 * scores(known, x32, np.array([mine.mean(0), other.mean(0)]), np.array([7.0, 2]))
    shift = np.log(np.exp(z32).sum(1)) - np.log(np.exp(s).sum(1))
    np.testing.assert_allclose(found[:, :CLASSES], z32)
    np.testing.assert_allclose(found[:, CLASSES:], t + shift[:, None])


def test_where_the_closed_form_decides_old_classes_have_its_scores_and_the_same_weight_together(
    known: KnownClasses, random: np.random.Generator
) -> None:
    mine = random.normal(size=(7, SIZE))
    x = random.normal(size=(6, SIZE)).astype(np.float32)
    z = random.normal(size=(6, CLASSES)).astype(np.float32)
    plain = TaughtHead(known, [Prototype(mine, None)]).logits(x, z)
    found = TaughtHead(replace(known, rules=CLOSED_FORM), [Prototype(mine, None)]).logits(x, z)
    x64, means = x.astype(np.float64), np.array([*known.means, mine.mean(0)])
    s = 0.5 * scores(known, x64, means, np.array([*known.counts, 7.0]))
    # Among all classes, old and new, the differences are those of the closed form alone.
    np.testing.assert_allclose(found - found[:, :1], s - s[:, :1], atol=1e-9)
    assert (found[:, :CLASSES].argmax(axis=1) != z.argmax(axis=1)).any()
    np.testing.assert_allclose(found[:, CLASSES], plain[:, CLASSES])
    together = np.exp(found[:, :CLASSES]).sum(axis=1)
    np.testing.assert_allclose(together, np.exp(z.astype(np.float64)).sum(axis=1))


def test_a_correction_raises_its_class_also_where_the_closed_form_decides(
    known: KnownClasses, random: np.random.Generator
) -> None:
    known = replace(known, rules=CLOSED_FORM)
    seen = random.normal(size=(9, SIZE)) + 2
    far = random.normal(size=(1, SIZE)) - 40
    x = np.concatenate([seen, far]).astype(np.float32)
    z = random.normal(size=(10, CLASSES)).astype(np.float32)
    plain = TaughtHead(known, [Prototype(far, None)]).logits(x, z)[:, :CLASSES]
    found = TaughtHead(known, [Prototype(seen, 3)]).logits(x, z)
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(found[:, others], plain[:, others])
    assert (found[:9, 3] > plain[:9, 3]).all()
    assert found[9, 3] == pytest.approx(plain[9, 3])


@pytest.mark.parametrize("rules", ["trained", CLOSED_FORM])
def test_scores_hold_for_every_tau(
    known: KnownClasses, random: np.random.Generator, rules: str
) -> None:
    prototypes = [Prototype(random.normal(size=(4, SIZE)), corrects) for corrects in (None, 2)]
    x = random.normal(size=(4, SIZE)).astype(np.float32)
    z = random.normal(size=(4, CLASSES)).astype(np.float32)
    known = replace(known, rules=rules)
    head = TaughtHead(known, prototypes)
    other = TaughtHead(replace(known, tau=1.5), prototypes)
    np.testing.assert_array_equal(head.combined(z, head.scores(x), 1.5), other.logits(x, z))
    assert not np.allclose(head.logits(x, z), other.logits(x, z))


def test_a_correction_raises_its_class_where_it_is_likelier_and_changes_no_other(
    known: KnownClasses, random: np.random.Generator
) -> None:
    seen = random.normal(size=(9, SIZE)) + 2
    x = np.concatenate([seen, random.normal(size=(9, SIZE)) - 6]).astype(np.float32)
    z = random.normal(size=(18, CLASSES)).astype(np.float32)
    found = TaughtHead(known, [Prototype(seen, 3)]).logits(x, z)
    assert found.shape == z.shape
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(found[:, others], z[:, others])
    assert (found[:, 3] >= z[:, 3]).all()
    assert (found[:9, 3] > z[:9, 3]).all()


def test_a_correction_is_drawn_to_the_mean_of_its_own_class(
    known: KnownClasses, random: np.random.Generator
) -> None:
    seen = random.normal(size=(2, SIZE)) + 8
    x = (seen + 0.1).astype(np.float32)
    found = TaughtHead(known, [Prototype(seen, 3)]).scores(x)[1]
    g = known.means.mean(axis=0)
    k = known.noise
    own = g + 50 / (50 + k) * (known.means[3] - g)
    drawn = own + 2 / (2 + k) * (seen.mean(axis=0) - own)
    cov = dense(known.covariance)
    inverse = np.linalg.inv(0.8 * cov + 0.2 * np.trace(cov) / SIZE * np.eye(SIZE))
    expected = [one @ inverse @ drawn - drawn @ inverse @ drawn / 2 for one in x.astype(float)]
    np.testing.assert_allclose(found[:, 0], expected)


def test_a_correction_by_what_the_class_is_known_for_changes_next_to_nothing(
    known: KnownClasses, random: np.random.Generator
) -> None:
    # Few pictures that were drawn to the mean of all would take pictures from every other class.
    own = known.shrunk(known.means, known.counts)[3]
    closed_form = replace(known, rules=CLOSED_FORM)
    x = known.means[random.integers(CLASSES, size=50)] + random.normal(size=(50, SIZE))
    asked, z = x.astype(np.float32), np.zeros((50, CLASSES), np.float32)
    plain = TaughtHead(closed_form, [Prototype(known.means[:1], None)]).logits(asked, z)
    found = TaughtHead(closed_form, [Prototype(own[np.newaxis], 3)]).logits(asked, z)
    np.testing.assert_allclose(found, plain[:, :CLASSES])


def test_the_order_of_teaching_does_not_matter(
    known: KnownClasses, random: np.random.Generator
) -> None:
    prototypes = [Prototype(random.normal(size=(n, SIZE)), None) for n in (1, 5, 9)]
    x = random.normal(size=(4, SIZE)).astype(np.float32)
    z = random.normal(size=(4, CLASSES)).astype(np.float32)
    one = TaughtHead(known, prototypes).logits(x, z)
    other = TaughtHead(known, prototypes[::-1]).logits(x, z)
    np.testing.assert_allclose(one[:, CLASSES:], other[:, CLASSES:][:, ::-1])


def test_few_pictures_are_believed_less_than_many(known: KnownClasses) -> None:
    far = np.full((1, SIZE), 10.0)
    few, many = (known.shrunk(far, np.array([count])) for count in (1.0, 1000.0))
    assert np.linalg.norm(few - known.centre) < np.linalg.norm(many - known.centre)
    np.testing.assert_allclose(many, far, rtol=0.05)


def test_a_class_apart_is_recognised_with_each_picture_left_out(
    known: KnownClasses, random: np.random.Generator
) -> None:
    apart = 40 + random.normal(size=(6, SIZE))
    assert left_out_recognised(known, apart, []) == 1
    assert np.isnan(left_out_recognised(known, apart[:1], []))
    mixed = known.means[random.integers(CLASSES, size=40)] + random.normal(size=(40, SIZE)) * 0.1
    assert left_out_recognised(known, mixed, []) < 0.2


def test_log_sum_exp_does_not_overflow() -> None:
    values = np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(log_sum_exp(values), [1000 + np.log(2), -1000 + np.log(2)])


def test_what_a_taught_class_takes_is_what_it_takes_of_drawn_features(
    known: KnownClasses, random: np.random.Generator
) -> None:
    """So near to two of them that both suffer."""
    near = 0.2 * known.means
    known = replace(known, means=near)
    mine = 0.6 * near[1] + 0.4 * near[2] + random.normal(size=(20, SIZE)) * 0.1
    means = np.concatenate([known.means, mine.mean(0, keepdims=True)])
    counts = np.append(known.counts, 20.0)
    root = np.linalg.cholesky(dense(known.covariance))
    expected = []
    for c in range(CLASSES):
        x = known.means[c] + random.normal(size=(5_000, SIZE)) @ root.T
        found = scores(known, x, known.means, known.counts)
        taught = scores(known, x, means, counts)[:, -1]
        expected.append((taught > found[:, c]).mean())
    assert max(expected) > 0.05
    np.testing.assert_allclose(taken_from(known, mine), expected, atol=0.01)
