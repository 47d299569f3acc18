"""Methods that keep one network: their losses and corrections, against calculations by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgecil.errors import UsageError
from edgecil.methods import METHODS, method_named
from edgecil.methods.base import align_weights, distillation_loss
from tests.edgecil.methods.by_hand import (
    FIRST_TASK,
    PUBLISHED,
    RECIPE,
    cross_entropy,
    network,
    numbers,
    pictures,
    second_task,
    soft_cross_entropy,
    softmax,
)

SINGLE = ["finetune", "slda", "replay", "icarl", "wa", "foster", "thrift", "joint"]
LABELS = [1, 3, 4]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_the_first_task_with_plain_cross_entropy(name: str) -> None:
    method = method_named(name)
    net = network(cut="last" if name == "memo-2" else method.cuts[0])  # convnet2 has two groups
    lesson = method.prepare(net, FIRST_TASK, RECIPE)
    (phase,) = lesson.phases
    assert phase.recipe is RECIPE.first
    assert list(phase.trained) == [net]
    assert not list(lesson.extras.parameters())
    by_hand = cross_entropy(net(pictures()), [0, 2, 1])
    loss = phase.loss(pictures(), torch.tensor([0, 2, 1]))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("name", SINGLE)
def test_one_block_is_kept_however_many_tasks_there_are(name: str) -> None:
    assert [method_named(name).blocks_after(stage) for stage in (1, 2, 10)] == [1, 1, 1]


@pytest.mark.parametrize("name", SINGLE)
def test_the_head_keeps_its_old_rows_and_bias_at_a_later_task(name: str) -> None:
    net = network(5 if name == "joint" else 3)  # joint training comes with a fresh network
    weight, bias = net.head.weight.clone(), net.head.bias.clone()
    method_named(name).prepare(net, second_task(), RECIPE)
    assert net.head.weight.shape == (5, 64)
    assert torch.equal(net.head.weight[:3], weight[:3])
    assert torch.equal(net.head.bias[:3], bias[:3])


def test_distillation_is_the_cross_entropy_of_old_logits_at_temperature_2() -> None:
    draw = np.random.default_rng(3)
    logits, taught = draw.normal(size=(4, 5)) * 3, draw.normal(size=(4, 3)) * 3
    by_hand = soft_cross_entropy(logits[:, :3] / 2, softmax(taught / 2))
    loss = distillation_loss(torch.from_numpy(logits), torch.from_numpy(taught))
    assert loss.item() == pytest.approx(by_hand)


def test_fine_tuning_looks_at_the_new_logits_alone() -> None:
    net = network()
    (phase,) = method_named("finetune").prepare(net, second_task(), RECIPE).phases
    by_hand = cross_entropy(numbers(net(pictures()))[:, 3:], [0, 1, 1])
    loss = phase.loss(pictures(), torch.tensor([3, 4, 4]))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_replay_looks_at_all_logits() -> None:
    net = network()
    (phase,) = method_named("replay").prepare(net, second_task(), RECIPE).phases
    by_hand = cross_entropy(net(pictures()), LABELS)
    assert phase.loss(pictures(), torch.tensor(LABELS)).item() == pytest.approx(by_hand, rel=1e-5)


def test_replay_shifts_the_logits_of_new_classes_that_are_rarer_than_old_ones() -> None:
    net = network()
    rare = replace(second_task(), class_counts=(6, 4, 8, 2, 9))
    (phase,) = method_named("replay").prepare(net, rare, RECIPE).phases
    by_hand = cross_entropy(numbers(net(pictures())) + np.log([1, 1, 1, 2 / 6, 1]), LABELS)
    assert phase.loss(pictures(), torch.tensor(LABELS)).item() == pytest.approx(by_hand, rel=1e-5)


def test_thrift_shifts_logits_by_how_often_each_class_is_seen() -> None:
    net = network()
    task = second_task()  # 4 exemplars of each of 3 old classes, 9 pictures of each of 2 new ones
    (phase,) = method_named("thrift").prepare(net, task, RECIPE).phases
    seen = np.array([4, 4, 4, 9, 9]) / 30
    by_hand = cross_entropy(numbers(net(pictures())) + np.log(seen), LABELS)
    assert phase.loss(pictures(), torch.tensor(LABELS)).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(("name", "new", "old"), [("icarl", 1, 1), ("wa", 2 / 5, 3 / 5)])
def test_the_network_as_it_was_teaches(name: str, new: float, old: float) -> None:
    net = network()
    taught = numbers(net(pictures()))
    (phase,) = method_named(name).prepare(net, second_task(), RECIPE).phases
    with torch.no_grad():
        for parameter in net.trunk.parameters():
            parameter.mul_(1.5)  # the pupil moves on, the teacher does not
    logits = numbers(net(pictures()))
    by_hand = new * cross_entropy(logits, LABELS)
    by_hand += old * soft_cross_entropy(logits[:, :3] / 2, softmax(taught / 2))
    assert phase.loss(pictures(), torch.tensor(LABELS)).item() == pytest.approx(by_hand, rel=1e-4)


def test_alignment_scales_new_rows_by_the_ratio_of_mean_norms_and_leaves_the_bias() -> None:
    head = torch.nn.Linear(3, 4)
    weight = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [6.0, 8.0, 0.0], [0.0, 2.0, 0.0]])
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.arange(4.0))
    # Old rows have norms 5 and 1, new ones 10 and 2.
    assert align_weights(head, known_classes=2) == pytest.approx(0.5)
    np.testing.assert_allclose(head.weight.detach().numpy(), weight * [[1], [1], [0.5], [0.5]])
    assert head.bias.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", METHODS)
def test_only_the_methods_that_say_so_align_the_head(name: str) -> None:
    net = network(5)
    before = net.head.weight.clone()
    method_named(name).finish(net, second_task(), PUBLISHED)
    assert torch.equal(net.head.weight, before) == (name not in {"wa", "der", "memo", "memo-2"})


def test_a_short_recipe_leaves_the_head_to_wa_alone() -> None:
    for name in METHODS:
        net = network(5)
        before = net.head.weight.clone()
        method_named(name).finish(net, second_task(), RECIPE)
        assert torch.equal(net.head.weight, before) == (name != "wa")


def test_joint_training_takes_the_first_recipe_and_the_whole_network_every_time() -> None:
    net = network(5)
    (phase,) = method_named("joint").prepare(net, second_task(), RECIPE).phases
    assert phase.recipe is RECIPE.first
    assert list(phase.trained) == [net]


def test_unknown_methods_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="lwf.*memo"):
        method_named("lwf")
