"""The block that goes is the one that the others can stand for; it joins the one most like it."""

import numpy as np
import pytest

from edgecil.training.block_choice import chosen_merge, linear_cka
from tests.edgecil.methods.by_hand import Floats

CLASSES, EACH, SIZE = 4, 30, 5


def blocks_and_head() -> tuple[Floats, np.ndarray, Floats]:
    """Four blocks, of which the third is a linear map of the first, and a head that uses all."""
    draw = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), EACH)
    found = draw.normal(size=(len(labels), 4, SIZE)) + labels[:, None, None]
    found[:, 2] = found[:, 0] @ np.linalg.qr(draw.normal(size=(SIZE, SIZE)))[0]
    head = draw.normal(size=(CLASSES, 4 * SIZE + 1))
    return found, labels, head


def test_a_block_that_says_what_another_says_is_merged_with_that_one() -> None:
    features, labels, head = blocks_and_head()
    merge = chosen_merge(features, labels, head, kept=3)
    assert set(map(frozenset, merge.groups)) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}
    # In the order of their newest blocks.
    assert [max(group) for group in merge.groups] == sorted(max(g) for g in merge.groups)


def test_the_head_begins_where_the_blocks_that_are_left_give_the_same_logits() -> None:
    features, labels, head = blocks_and_head()
    merge = chosen_merge(features, labels, head, kept=3)
    kept = np.concatenate([features[:, group[0]] for group in merge.groups], axis=1)
    assert merge.weight is not None
    assert merge.bias is not None
    given = kept @ merge.weight.double().numpy().T + merge.bias.double().numpy()
    wanted = features.reshape(len(features), -1) @ head[:, :-1].T + head[:, -1]
    assert np.abs(given - wanted).max() < 0.05 * np.abs(wanted).max()


def test_all_blocks_may_come_to_stand_in_one() -> None:
    features, labels, head = blocks_and_head()
    (group,) = chosen_merge(features, labels, head, kept=1).groups
    assert sorted(group) == [0, 1, 2, 3]


def test_a_single_exemplar_a_class_is_enough_to_choose() -> None:
    features, labels, head = blocks_and_head()
    merge = chosen_merge(features[::EACH], labels[::EACH], head, kept=2)
    assert sorted(k for group in merge.groups for k in group) == [0, 1, 2, 3]
    assert len(merge.groups) == 2


def test_likeness_knows_no_rotation_and_no_scale() -> None:
    draw = np.random.default_rng(0)
    one = draw.normal(size=(50, 4))
    turned = 3 * one @ np.linalg.qr(draw.normal(size=(4, 4)))[0] + 1
    assert linear_cka(one, turned) == pytest.approx(1)
    assert linear_cka(one, draw.normal(size=(50, 4))) < 0.3
    assert linear_cka(one, np.ones((50, 4))) == 0
