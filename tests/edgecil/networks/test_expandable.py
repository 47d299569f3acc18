"""The network grows as MEMO's equation 5 says, and what is frozen stays."""

import math

import torch

from edgecil.networks import ExpandableNetwork, cut_backbone, frozen_copy

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def network(classes: int = 3, blocks: int = 1) -> ExpandableNetwork:
    torch.manual_seed(0)
    return ExpandableNetwork(cut_backbone("resnet14"), classes, blocks, mean=MEAN, std=STD)


def pixels(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def test_normalisation_is_that_of_pixels_scaled_to_one() -> None:
    by_hand = (pixels().double() / 255 - torch.tensor(MEAN).double().view(1, 3, 1, 1)) / (
        torch.tensor(STD).double().view(1, 3, 1, 1)
    )
    torch.testing.assert_close(network().normalise(pixels()).double(), by_hand, rtol=0, atol=1e-5)


def test_logits_are_the_head_over_features_of_all_blocks() -> None:
    net = network(classes=5, blocks=2).eval()
    with torch.inference_mode():
        shared = net.trunk(net.normalise(pixels()))
        features = torch.cat([net.blocks[0](shared), net.blocks[1](shared)], dim=1)
        expected = features @ net.head.weight.T + net.head.bias
        torch.testing.assert_close(net(pixels()), expected)


def test_a_new_block_starts_from_the_one_before() -> None:
    net = network()
    net.add_block()
    for old, new in zip(net.blocks[0].parameters(), net.blocks[1].parameters(), strict=True):
        assert torch.equal(old, new)
        assert old.data_ptr() != new.data_ptr()


def test_a_grown_head_keeps_old_rows_and_columns_and_starts_the_rest_at_random() -> None:
    net = network(classes=3)
    weight, bias = net.head.weight.clone(), torch.tensor([1.0, 2.0, 3.0])
    with torch.no_grad():
        net.head.bias.copy_(bias)
    net.add_block()
    net.grow_head(5)
    assert net.head.weight.shape == (5, 128)
    assert torch.equal(net.head.weight[:3, :64], weight)
    assert torch.equal(net.head.bias, torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0]))
    bound = math.sqrt(3 / 128)  # Kaiming-uniform for a linear layer of 128 inputs
    for part in (net.head.weight[:3, 64:], net.head.weight[3:]):
        assert 0.5 * bound < part.abs().max() <= bound


def test_a_frozen_copy_does_not_follow_the_network() -> None:
    net = network().train()
    copied = frozen_copy(net)
    before = copied(pixels())
    with torch.no_grad():
        net.head.weight.add_(1)
    net(pixels())
    torch.testing.assert_close(copied(pixels()), before)
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_gradients_reach_the_trunk_through_a_frozen_block() -> None:
    net = network()
    net.blocks.requires_grad_(False).eval()
    net(pixels()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.trunk.parameters())
