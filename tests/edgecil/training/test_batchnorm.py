"""What is kept of BatchNorm is of the trained network, on pictures as it was trained on."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import PhaseRecipe
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.layers import batch_norms
from edgecil.pictures.batches import Batch, ResidentImages
from edgecil.training.batchnorm import BATCH_SIZE, PICTURES, measure_statistics
from edgecil.training.loop import train_phase
from tests.edgecil.training.tiny import tiny_dataset


class Shown:
    """Images that note what is shown of them."""

    def __init__(self, count: int = 40) -> None:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)
        labels = np.arange(count) % 3
        self._images = ResidentImages(pixels, labels, torch.device("cpu"), mirrors=True)
        self.pixels: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._images)

    def training_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        for pixels, labels in self._images.training_batches(batch_size, generator):
            self.pixels.append(pixels)
            yield pixels, labels

    def plain_batches(self, batch_size: int, order: torch.Tensor | None = None) -> Iterator[Batch]:
        raise AssertionError("the weights were not fitted to plain pictures")


def measured(images: Shown, layer: nn.BatchNorm2d, epochs: int = 50) -> None:
    layer.train()
    generator = torch.Generator().manual_seed(0)
    measure_statistics(lambda pixels, *_: layer(pixels).sum(), [layer], images, generator, epochs)


def statistics(layer: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Copies of the running mean and variance."""
    return layer.get_buffer("running_mean").clone(), layer.get_buffer("running_var").clone()


@pytest.mark.parametrize("count", [40, 300, 1000])
def test_statistics_are_those_of_all_pictures_that_were_shown(count: int) -> None:
    images, layer = Shown(count), nn.BatchNorm2d(3)
    layer.get_buffer("running_mean").fill_(float("nan"))
    measured(images, layer)

    shown = torch.cat(images.pixels).double().numpy()
    sizes = [len(batch) for batch in images.pixels]
    by_batch = [batch.double().numpy() for batch in images.pixels]
    mean = shown.mean((0, 2, 3))
    variance = np.average([b.var((0, 2, 3), ddof=1) for b in by_batch], axis=0, weights=sizes)
    found_mean, found_variance = statistics(layer)
    np.testing.assert_allclose(found_mean.numpy(), mean, rtol=1e-4)
    np.testing.assert_allclose(found_variance.numpy(), variance, rtol=1e-4)
    assert layer.momentum == 0.1


@pytest.mark.parametrize(
    ("count", "epochs", "looked_at"),
    [
        (40, 50, 1040),
        (1000, 10, 1128),
        (1500, 10, 1500),
        (9000, 10, PICTURES),
        # No more than training itself was shown.
        (40, 3, 120),
        (40, 1, 40),
    ],
)
def test_small_tasks_are_looked_at_often_and_large_ones_in_part(
    count: int, epochs: int, looked_at: int
) -> None:
    images = Shown(count)
    measured(images, nn.BatchNorm2d(3), epochs)
    assert sum(len(batch) for batch in images.pixels) == looked_at
    assert max(len(batch) for batch in images.pixels) <= BATCH_SIZE + 1


def test_after_a_phase_what_was_trained_is_measured_and_what_was_frozen_is_not() -> None:
    torch.manual_seed(0)
    net = ExpandableNetwork(cut_backbone("convnet2"), 6, 2, mean=(0.5,) * 3, std=(0.2,) * 3)
    (frozen_norm,), (block_norm,) = batch_norms([net.trunk]), batch_norms([net.blocks[1]])
    convolution = next(each for each in net.blocks[1].modules() if isinstance(each, nn.Conv2d))
    frozen, _ = statistics(frozen_norm)
    train = tiny_dataset().train
    images = ResidentImages(train.pixels(), train.labels, torch.device("cpu"), mirrors=True)
    recipe = PhaseRecipe(1, 0.1, 5e-4)
    phase = Phase("train", recipe, lambda x, y: F.cross_entropy(net(x), y), [net.blocks, net.head])

    epochs = train_phase(net, Lesson([phase]), phase, images, seeds=[3])
    next(epochs)
    lagging, _ = statistics(block_norm)
    assert next(epochs, None) is None

    assert torch.equal(statistics(frozen_norm)[0], frozen)
    # By hand: what the block's convolution says of the same crops, in batches of 128 as before.
    generator, sums, count = torch.Generator().manual_seed(3), torch.zeros(64).double(), 0
    net.eval()
    with torch.no_grad():
        for pixels, _ in images.training_batches(BATCH_SIZE, generator):
            seen = convolution(net.trunk(net.normalise(pixels))).double()
            sums, count = sums + seen.mean((2, 3)).sum(0), count + len(pixels)
    assert count == 144  # once, as training saw them
    now, _ = statistics(block_norm)
    torch.testing.assert_close(now, (sums / count).float(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(lagging, now, rtol=1e-2)
