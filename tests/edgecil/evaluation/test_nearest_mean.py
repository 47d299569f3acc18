"""The nearest mean of exemplars against distances worked out in float64."""

import numpy as np
import torch

from edgecil.evaluation.nearest_mean import exemplar_means, nearest_mean_logits
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil_devices.images import Preprocessing


def test_means_and_nearest_classes_are_those_of_the_definition() -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    codec = codec_named("raw")
    payloads = codec.encode_many(pixels)
    exemplars = ExemplarSet.empty(codec, 16).with_new_classes([payloads[:4], payloads[4:]])
    torch.manual_seed(0)
    net = ExpandableNetwork(cut_backbone("convnet2"), 2, mean=(0.5,) * 3, std=(0.2,) * 3).eval()

    with torch.inference_mode():
        features = net.features(torch.from_numpy(pixels).permute(0, 3, 1, 2)).double().numpy()
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([units[:4].mean(axis=0), units[4:].mean(axis=0)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = exemplar_means(net, exemplars, Preprocessing(16))
    np.testing.assert_allclose(found.numpy(), means, atol=1e-6)

    logits = nearest_mean_logits(torch.from_numpy(features).float(), found).numpy()
    distances = ((units[:, None] - means) ** 2).sum(axis=2)
    np.testing.assert_allclose(logits, (1 - distances) / 2, atol=1e-6)


def test_a_class_without_exemplars_is_never_the_nearest() -> None:
    means = torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]])
    features = torch.tensor([[2.0, 0.0], [0.0, -3.0], [0.0, 0.0]])
    logits = nearest_mean_logits(features, means)
    # Cosines 0.6 and -1, then -0.8 and 0, of which half a squared length goes.
    expected = [[0.1, -torch.inf, -1.5], [-1.3, -torch.inf, -0.5], [-0.5, -torch.inf, -0.5]]
    assert torch.allclose(logits, torch.tensor(expected))
    assert logits.argmax(dim=1).tolist() == [0, 2, 0]
