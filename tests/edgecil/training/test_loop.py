"""The loop trains what a phase names, and nothing else."""

import numpy as np
import torch
from torch.nn import functional as F

from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import PhaseRecipe
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.pictures.batches import ResidentImages
from edgecil.training.loop import train_phase
from tests.edgecil.training.tiny import tiny_dataset


def test_what_a_phase_does_not_train_stays_as_it_is_statistics_included() -> None:
    parts = cut_backbone("convnet2")
    net = ExpandableNetwork(parts, 6, 2, mean=(0.5,) * 3, std=(0.2,) * 3)
    auxiliary = torch.nn.Linear(64, 6)
    extras = torch.nn.ModuleDict({"trained": auxiliary, "idle": torch.nn.Linear(64, 6)})

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = net.block_features(pixels)
        idle = extras["idle"](features[0])
        return F.cross_entropy(net(pixels) + auxiliary(features[1]) + idle, labels)

    phase = Phase("train", PhaseRecipe(1, 0.1, 5e-4), loss, [net.blocks[1], net.head, auxiliary])
    lesson = Lesson([phase], extras)
    train = tiny_dataset().train
    images = ResidentImages(train.pixels(), train.labels, torch.device("cpu"), mirrors=True)
    everything = torch.nn.ModuleDict({"net": net, "extras": extras})
    before = {name: tensor.clone() for name, tensor in everything.state_dict().items()}
    reports = list(train_phase(net, lesson, phase, images, seeds=[0]))

    assert [report.epoch for report in reports] == [1]
    assert np.isfinite(reports[0].loss)
    for name, tensor in everything.state_dict().items():
        learned = name.startswith(("net.blocks.1.", "net.head.", "extras.trained."))
        assert torch.equal(tensor, before[name]) != learned, name
