"""FOSTER's two phases against calculations by hand."""

import numpy as np
import pytest
import torch

from edgecil.methods.foster import BOOSTING_BETA, COMPRESSION_BETA, Foster, class_weights
from edgecil.methods.lesson import Lesson
from edgecil.networks import ExpandableNetwork
from tests.edgecil.methods.by_hand import (
    RECIPE,
    Floats,
    cross_entropy,
    network,
    numbers,
    pictures,
    second_task,
    soft_cross_entropy,
    softmax,
)


def weights_by_hand(beta: float) -> Floats:
    weights: Floats = np.array([(1 - beta) / (1 - beta**n) for n in (4, 4, 4, 9, 9)])
    return numbers(weights * 5 / weights.sum())


@pytest.fixture
def lesson_and_network() -> tuple[Lesson, ExpandableNetwork, ExpandableNetwork]:
    """FOSTER's second task: the lesson, the network, and a twin of the network before it."""
    net, before = network(), network()
    lesson = Foster().prepare(net, second_task(), RECIPE)
    lesson.extras.eval()
    return lesson, net, before


def joint_logits(lesson: Lesson, before: ExpandableNetwork) -> tuple[Floats, torch.Tensor]:
    """Logits of both backbones, and features of the new one."""
    new_features = lesson.extras["expansion"](before.normalise(pictures()))
    both = torch.cat([before.features(pictures()), new_features], dim=1)
    return numbers(lesson.extras["joint_head"](both)), new_features


def test_classes_with_few_pictures_weigh_more() -> None:
    found = class_weights((4, 4, 4, 9, 9), BOOSTING_BETA)
    np.testing.assert_allclose(found.numpy(), weights_by_hand(BOOSTING_BETA), rtol=1e-6)
    assert found[0] > found[3]


def test_the_new_backbone_starts_from_the_old_one_and_the_joint_head_from_the_old_head(
    lesson_and_network: tuple[Lesson, ExpandableNetwork, ExpandableNetwork],
) -> None:
    lesson, _, before = lesson_and_network
    new_features = lesson.extras["expansion"](before.normalise(pictures()))
    torch.testing.assert_close(new_features, before.features(pictures()))
    weight = lesson.extras.state_dict()["joint_head.weight"]
    assert weight.shape == (5, 128)
    assert torch.equal(weight[:3, :64], before.head.weight)


def test_boosting_trains_the_new_backbone_and_its_heads_with_three_losses(
    lesson_and_network: tuple[Lesson, ExpandableNetwork, ExpandableNetwork],
) -> None:
    lesson, _, before = lesson_and_network
    boost = lesson.phases[0]
    assert list(boost.trained) == list(lesson.extras.values())
    with torch.no_grad():
        for parameter in lesson.extras["expansion"].parameters():
            parameter.mul_(1.3)
    labels = [0, 3, 4]
    logits, new_features = joint_logits(lesson, before)
    by_hand = cross_entropy(logits / weights_by_hand(BOOSTING_BETA), labels)
    by_hand += cross_entropy(lesson.extras["new_head"](new_features), labels)
    taught = numbers(before(pictures()))
    by_hand += soft_cross_entropy(logits[:, :3] / 2, softmax(taught / 2))
    assert boost.loss(pictures(), torch.tensor(labels)).item() == pytest.approx(by_hand, rel=1e-4)


def test_compression_trains_the_kept_network_without_labels(
    lesson_and_network: tuple[Lesson, ExpandableNetwork, ExpandableNetwork],
) -> None:
    lesson, net, before = lesson_and_network
    compress = lesson.phases[1]
    assert list(compress.trained) == [net]
    assert compress.recipe is RECIPE.compression
    logits, _ = joint_logits(lesson, before)
    wanted = softmax(logits / 2) * weights_by_hand(COMPRESSION_BETA)
    wanted /= wanted.sum(axis=1, keepdims=True)
    by_hand = soft_cross_entropy(numbers(net(pictures())) / 2, wanted)
    for labels in ([0, 3, 4], [1, 1, 1]):
        found = compress.loss(pictures(), torch.tensor(labels)).item()
        assert found == pytest.approx(by_hand, rel=1e-4)


def test_a_class_without_pictures_weighs_as_one_with_one() -> None:
    found = class_weights((0, 1, 30), BOOSTING_BETA)
    assert found.isfinite().all()
    assert found[0] == found[1] > found[2]
