"""MEMO as its paper and code have it, against small calculations by hand."""

import numpy as np
import pytest
import torch

from edgecil.errors import UsageError
from edgecil.methods import TaskView, method_named
from edgecil.methods.base import align_weights
from edgecil.methods.memo import Memo, auxiliary_targets
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.training.recipes import recipe_named

RECIPE = recipe_named("fast")


def network(classes: int) -> ExpandableNetwork:
    torch.manual_seed(0)
    return ExpandableNetwork(
        cut_backbone("convnet2"), classes, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )


def second_task(first_classes: int = 3) -> TaskView:
    return TaskView(
        stage=2, known_classes=first_classes, new_classes=2, first_classes=first_classes
    )


def cross_entropy(logits: torch.Tensor, targets: list[int]) -> float:
    """In float64 numpy, by its definition."""
    rows = logits.detach().double().numpy()
    chosen = rows[np.arange(len(rows)), targets]
    return float(np.mean(np.log(np.exp(rows).sum(axis=1)) - chosen))


def test_old_classes_share_auxiliary_target_zero() -> None:
    labels = torch.tensor([0, 4, 5, 6, 9])
    assert auxiliary_targets(labels, known_classes=5).tolist() == [0, 0, 1, 2, 5]


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


def test_the_first_task_trains_everything_with_plain_cross_entropy() -> None:
    net = network(3)
    (phase,) = Memo().prepare(net, TaskView(1, 0, 3, 3), RECIPE)
    assert phase.recipe is RECIPE.first
    assert not list(phase.extras.parameters())
    pixels, labels = torch.zeros(2, 3, 32, 32), torch.tensor([0, 2])
    net.eval()
    by_hand = cross_entropy(net(pixels), [0, 2])
    assert phase.loss(pixels, labels).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_later_task_adds_a_block_freezes_the_others_and_grows_the_head() -> None:
    net = network(3)
    (phase,) = Memo().prepare(net, second_task(), RECIPE)
    assert phase.recipe is RECIPE.incremental
    assert len(net.blocks) == 2
    assert net.head.weight.shape == (5, 128)
    assert not any(p.requires_grad for p in net.blocks[0].parameters())
    assert all(p.requires_grad for p in net.blocks[1].parameters())
    assert phase.extras["auxiliary"].weight.shape == (3, 64)


def test_the_later_loss_adds_the_auxiliary_cross_entropy_of_the_newest_block() -> None:
    net = network(3)
    (phase,) = Memo(auxiliary_weight=0.7).prepare(net, second_task(), RECIPE)
    net.eval()
    pixels = torch.randint(0, 256, (3, 3, 32, 32)).float()
    labels = [1, 3, 4]
    features = net.block_features(pixels)

    def cross_entropy(logits: torch.Tensor, targets: list[int]) -> float:
        rows = logits.detach().double().numpy()
        return -float(
            np.mean([r[t] - np.log(np.exp(r).sum()) for r, t in zip(rows, targets, strict=True)])
        )

    by_hand = cross_entropy(net.head(torch.cat(features, 1)), labels)
    by_hand += 0.7 * cross_entropy(phase.extras["auxiliary"](features[1]), [0, 1, 2])
    assert phase.loss(pixels, torch.tensor(labels)).item() == pytest.approx(by_hand, rel=1e-4)


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
    method_named("memo", trunk=policy).prepare(net, second_task(first_classes), RECIPE)
    assert all(p.requires_grad == trained for p in net.trunk.parameters())


def test_finish_aligns_only_after_the_first_task() -> None:
    net = network(5)
    before = net.head.weight.clone()
    Memo().finish(net, TaskView(1, 0, 5, 5))
    assert torch.equal(net.head.weight, before)
    Memo().finish(net, second_task())
    norms = net.head.weight.norm(dim=1)
    assert norms[:3].mean().item() == pytest.approx(norms[3:].mean().item(), rel=1e-5)


def test_unknown_methods_and_policies_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="lwf.*memo"):
        method_named("lwf")
    with pytest.raises(UsageError, match="auto, train, freeze"):
        method_named("memo", trunk="maybe")
