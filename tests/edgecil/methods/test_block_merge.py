"""What a merge does to a network, and the loss that its blocks learn by, worked out in float64."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecil.methods.block_merge import BlockMerge, begun, merge_phase
from edgecil.methods.memo import Memo
from edgecil.networks import ExpandableNetwork
from tests.edgecil.methods.by_hand import (
    PUBLISHED,
    RECIPE,
    network,
    numbers,
    pictures,
    second_task,
    softmax,
)


def three_blocks() -> ExpandableNetwork:
    """Blocks that differ, under a head of three classes."""
    found = network()
    for _ in range(2):
        found.add_block()
        for parameter in found.blocks[-1].parameters():
            nn.init.normal_(parameter, std=0.1)
    found.grow_head(3)
    return found.eval()


def test_a_kept_block_keeps_its_columns_of_the_head() -> None:
    before = three_blocks()
    after = copy.deepcopy(before)
    after.merge_blocks([(2, 0), (1,)])
    size = before.feature_size
    assert after.blocks[0].state_dict().keys() == before.blocks[2].state_dict().keys()
    features = [numbers(part) for part in before.block_features(pictures())]
    weight, bias = numbers(before.head.weight), numbers(before.head.bias)
    by_hand = (
        features[2] @ weight[:, 2 * size :].T + features[1] @ weight[:, size : 2 * size].T + bias
    )
    assert numbers(after(pictures())) == pytest.approx(by_hand, abs=1e-5)


def test_the_loss_is_cross_entropy_with_what_the_network_said_each_class_counting_alike() -> None:
    before = three_blocks()
    changed = copy.deepcopy(before)
    merge, counts = BlockMerge(((0, 2), (1,))), (1, 3, 2, 10)
    phase = merge_phase(changed, begun(changed, merge), merge, counts, RECIPE)
    labels = torch.tensor([0, 1, 3])
    taught = softmax(numbers(before(pictures())))
    given = np.log(softmax(numbers(changed(pictures()))))
    weights = np.array([4 / counts[label] for label in (0, 1, 3)])  # 4 is their mean
    by_hand = np.mean(weights * -(taught * given).sum(axis=1))
    assert phase.loss(pictures(), labels).item() == pytest.approx(by_hand, rel=1e-5)


def test_only_merged_blocks_and_the_head_learn_from_it() -> None:
    grown = three_blocks()
    task = replace(second_task(), merge=BlockMerge(((0, 2), (1,))))
    lesson = Memo().next_lesson(grown, task, RECIPE)
    assert [phase.name for phase in lesson.phases] == ["merge", "train"]
    assert len(grown.blocks) == 3  # two that are left, and the task's own
    lesson.begin(grown, lesson.phases[0])
    lesson.phases[0].loss(pictures(), torch.tensor([0, 1, 4])).backward()  # type: ignore[no-untyped-call]
    learns = [any(p.grad is not None for p in block.parameters()) for block in grown.blocks]
    assert learns == [True, False, False]
    assert all(p.grad is None for p in grown.trunk.parameters())
    assert grown.head.weight.grad is not None
    # The rows of new classes, and the columns of the new block, wait for their own phase.
    known, size = 3, grown.feature_size
    assert not grown.head.weight.grad[known:].any()
    assert not grown.head.weight.grad[:, 2 * size :].any()


def test_what_is_measured_after_it_are_the_logits_of_the_classes_before() -> None:
    grown = three_blocks()
    task = replace(second_task(), merge=BlockMerge(((0,), (1,), (2,))))
    answer = Memo().next_lesson(copy.deepcopy(grown), task, RECIPE).phases[0].answer
    assert answer is not None
    # Nothing is merged here, so they are the network's own.
    assert numbers(answer(pictures())) == pytest.approx(numbers(grown(pictures())), abs=1e-5)


def test_new_rows_are_aligned_to_old_ones_only_where_none_of_these_was_fitted_anew() -> None:
    def lengths(**changes: object) -> list[float]:
        """Of the rows of old and new classes once a task is over."""
        grown, task = three_blocks(), replace(second_task(), **changes)  # type: ignore[arg-type]
        grown.grow_head(task.total_classes)
        with torch.no_grad():
            grown.head.weight[:] = 1.0
            grown.head.weight[: task.known_classes] = 8.0  # as ridge regression may leave them
        Memo().finish(grown, task, PUBLISHED)
        return [row.norm().item() / grown.head.in_features**0.5 for row in grown.head.weight]

    known = second_task().known_classes
    new = second_task().new_classes
    assert lengths() == pytest.approx([8.0] * (known + new))
    merge = BlockMerge(((0, 2), (1,)))
    for changes in ({"merge": merge}, {"was_merged": True}):
        assert lengths(**changes) == pytest.approx([8.0] * known + [1.0] * new)
