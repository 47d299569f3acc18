"""The nearest mean of exemplars: a classifier that needs no head.

Shapes: N images, F features, C classes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgecil.memory.exemplars import ExemplarSet
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import pictures_at_once
from edgecil.pictures.sequences import SeenInTest
from edgecil.work import work
from edgecil_devices.images import Preprocessing


def exemplar_means(
    network: ExpandableNetwork, exemplars: ExemplarSet, preprocessing: Preprocessing
) -> Tensor:
    """The mean of each class's features, (C, F) on the network's device.

    Exemplars are seen as `preprocessing` has a test see them. Features are scaled to unit length,
    averaged, and the mean is scaled likewise. No mirrored copies are averaged in, as in the public
    code (PyCIL, `models/base.py`). A class without exemplars has the mean zero. Features are
    added up on the CPU, in the exemplars' order: a graphics card adds in whatever order its threads
    come.
    """
    network.eval()
    pictures = SeenInTest(exemplars.pictures, preprocessing)
    device, labels = network.mean.device, torch.from_numpy(exemplars.labels())
    sums = torch.zeros(len(exemplars.counts), network.head.in_features)
    with torch.inference_mode(), work("means of exemplars", len(exemplars)) as done:
        at_once = pictures_at_once(preprocessing.image_size_px, device)
        for start in range(0, len(exemplars), at_once):
            rows = np.arange(start, min(start + at_once, len(exemplars)))
            pixels = torch.from_numpy(pictures.pixels(rows)).permute(0, 3, 1, 2).to(device)
            features = F.normalize(network.features(pixels), dim=1)
            sums.index_add_(0, labels[rows], features.cpu())
            done(len(rows))
        return F.normalize(sums, dim=1).to(device)


def nearest_mean_logits(features: Tensor, means: Tensor) -> Tensor:
    """Features (N, F) as they come and means (C, F) -> (N, C), highest for the nearest mean.

    With f of unit length, f.m - |m|^2 / 2 is half of 1 - |f - m|^2: a linear head over unit
    features, which is how a device evaluates it.
    """
    return F.normalize(features, dim=1) @ means.T + nearest_mean_bias(means)


def nearest_mean_bias(means: Tensor) -> Tensor:
    """-|m|^2 / 2 for means (C, F) -> (C,); a class without exemplars is never the nearest."""
    squares = means.square().sum(dim=1)
    return torch.where(squares > 0, -squares / 2, -torch.inf)
