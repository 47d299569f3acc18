"""DER and MEMO as their papers and code have them, against small calculations by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgecil.errors import UsageError
from edgecil.methods import method_named
from edgecil.methods.der import DER, auxiliary_targets
from edgecil.methods.memo import Memo
from tests.edgecil.methods.by_hand import (
    FIRST_TASK,
    PUBLISHED,
    RECIPE,
    cross_entropy,
    network,
    pictures,
    second_task,
)


def test_old_classes_share_auxiliary_target_zero() -> None:
    labels = torch.tensor([0, 4, 5, 6, 9])
    assert auxiliary_targets(labels, known_classes=5).tolist() == [0, 0, 1, 2, 5]


@pytest.mark.parametrize("name", ["der", "memo"])
def test_a_later_task_adds_a_block_grows_the_head_and_trains_only_what_is_new(name: str) -> None:
    method = method_named(name, trunk="freeze" if name == "memo" else "auto")
    net = network(cut=method.cuts[0])
    lesson = method.prepare(net, second_task(), RECIPE)
    (phase,) = lesson.phases
    assert phase.recipe is RECIPE.incremental
    assert net.head.weight.shape == (5, 128)
    assert lesson.extras["auxiliary"].weight.shape == (3, 64)
    assert list(phase.trained) == [net.blocks[1], net.head, lesson.extras["auxiliary"]]


def test_blocks_of_der_take_the_picture_itself() -> None:
    net = network(cut="whole")
    DER().prepare(net, second_task(), RECIPE)
    assert not list(net.trunk.parameters())
    normalised = net.normalise(pictures())
    features = [block(normalised) for block in net.eval().blocks]
    torch.testing.assert_close(net.features(pictures()), torch.cat(features, dim=1))


def test_the_later_loss_adds_the_auxiliary_cross_entropy_of_the_newest_block() -> None:
    net = network()
    lesson = Memo(auxiliary_weight=0.7).prepare(net, second_task(), PUBLISHED)
    net.eval()
    labels = [1, 3, 4]
    features = net.block_features(pictures())
    by_hand = cross_entropy(net.head(torch.cat(features, 1)), labels)
    by_hand += 0.7 * cross_entropy(lesson.extras["auxiliary"](features[1]), [0, 1, 2])
    loss = lesson.phases[0].loss(pictures(), torch.tensor(labels))
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


def test_new_classes_rarer_than_old_ones_are_trained_with_shifted_logits() -> None:
    net = network()
    rare = replace(second_task(), class_counts=(40, 30, 50, 8, 60))  # 40 on average, then 8 and 60
    lesson = Memo(auxiliary_weight=0).prepare(net, rare, PUBLISHED)
    net.eval()
    labels = [1, 3, 4]
    logits = net(pictures()).detach().numpy()
    by_hand = cross_entropy(logits + np.log([1, 1, 1, 8 / 40, 1]), labels)
    loss = lesson.phases[0].loss(pictures(), torch.tensor(labels))
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)
    assert loss.item() != pytest.approx(cross_entropy(logits, labels), rel=1e-2)


def test_a_recipe_that_does_not_align_shifts_all_logits_by_how_often_each_class_is_seen() -> None:
    net = network()
    lesson = Memo(auxiliary_weight=0).prepare(net, second_task(), RECIPE)  # 4, 4, 4, 9, 9 pictures
    net.eval()
    labels = [1, 3, 4]
    logits = net(pictures()).detach().numpy()
    by_hand = cross_entropy(logits + np.log(np.array([4, 4, 4, 9, 9]) / 30), labels)
    loss = lesson.phases[0].loss(pictures(), torch.tensor(labels))
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize(
    ("policy", "first_classes", "trained"),
    [
        ("auto", 19, True),
        ("auto", 20, False),
        ("train", 50, True),
        ("freeze", 2, False),
    ],
)
def test_the_trunk_follows_its_policy(policy: str, first_classes: int, trained: bool) -> None:
    net = network(first_classes)
    lesson = method_named("memo", trunk=policy).prepare(net, second_task(first_classes), RECIPE)
    assert (net.trunk in lesson.phases[0].trained) == trained


def test_finish_aligns_only_after_the_first_task() -> None:
    net = network(5)
    before = net.head.weight.clone()
    Memo().finish(net, FIRST_TASK, PUBLISHED)
    assert torch.equal(net.head.weight, before)
    Memo().finish(net, second_task(), PUBLISHED)
    norms = net.head.weight.norm(dim=1)
    assert norms[:3].mean().item() == pytest.approx(norms[3:].mean().item(), rel=1e-5)


def test_memo_2_is_memo_cut_at_the_last_two_groups() -> None:
    assert method_named("memo-2").cuts == ("last-two",)
    assert method_named("memo-2").blocks_after(4) == method_named("memo").blocks_after(4) == 4


def test_only_memo_takes_a_trunk_policy() -> None:
    with pytest.raises(UsageError, match="auto, train, freeze"):
        method_named("memo", trunk="maybe")
    with pytest.raises(UsageError, match="--trunk is for memo, not wa"):
        method_named("wa", trunk="freeze")
