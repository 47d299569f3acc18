"""What any method has learned says the same on the device as in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.errors import ExportError, UsageError
from edgecil.evaluation.nearest_mean import exemplar_means
from edgecil.memory.state import State
from edgecil.methods import METHODS
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.run import Run
from edgecil_devices import Classifier
from edgecil_export import ExportRequest, export
from tests.edgecil.training.tiny import tiny_dataset


def learned(method: str, folder: Path) -> Path:
    request = TrainRequest(
        data="tiny",
        budget="1.2MB",
        increment=2,
        method=method,
        backbone="resnet14" if method == "memo-2" else "convnet2",
        epochs=1,
        batch_size=16,
        seed=1,
    )
    train(request, folder, device="cpu", dataset=tiny_dataset())
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_the_device_says_what_torch_says(method: str, tmp_path: Path) -> None:
    run = learned(method, tmp_path / "run")
    report = export(run, tmp_path / "x.edgecil", ExportRequest(weights="fp32"))
    grows = METHODS[method]().blocks_after(3) == 3
    assert len(report.manifest.blocks) == (3 if grows else 1)

    pixels = tiny_dataset().test.pixels()
    network = State.read(run / "state").network()
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    logits = Classifier.load(tmp_path / "x.edgecil").logits(pixels)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_the_device_finds_the_nearest_mean_of_exemplars(tmp_path: Path) -> None:
    run = learned("icarl", tmp_path / "run")
    bundle = tmp_path / "x.edgecil"
    report = export(run, bundle, ExportRequest(classifier="nearest-mean"))
    assert report.manifest.head.role == "nearest-mean"

    state = State.read(run / "state")
    network = state.network()
    pixels = tiny_dataset().test.pixels()
    means = exemplar_means(network, state.exemplars, state.settings.preprocessing).double().numpy()
    with torch.inference_mode():
        features = network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2)).double().numpy()
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = ((units[:, None] - means) ** 2).sum(axis=2)
    classifier = Classifier.load(bundle)
    assert (classifier.logits(pixels).argmax(axis=1) == distances.argmin(axis=1)).all()
    measured = Run(run).stage_results()[-1].nearest_mean_accuracy
    assert classifier.manifest.accuracy is not None
    assert classifier.manifest.accuracy.overall == measured


def test_a_nearest_mean_needs_exemplars_and_a_classifier_a_known_name(tmp_path: Path) -> None:
    run = learned("finetune", tmp_path / "run")
    with pytest.raises(ExportError, match="needs an exemplar of every class"):
        export(run, tmp_path / "x.edgecil", ExportRequest(classifier="nearest-mean"))
    with pytest.raises(UsageError, match="linear, nearest-mean"):
        export(run, tmp_path / "x.edgecil", ExportRequest(classifier="nearest"))
    assert not (tmp_path / "x.edgecil").exists()
