"""A few photos a class are enough to be learned, and what is kept is what was learned."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecil.cli import main
from edgecil.data import ImageDataset, Split
from edgecil.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from edgecil.memory.state import State
from edgecil.networks import ExpandableNetwork
from edgecil.pictures.batches import ResidentImages
from edgecil.training.api import train
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import scenario_of
from edgecil_devices.images import Preprocessing
from tests.edgecil.training.tiny import picture_folder

pytestmark = pytest.mark.slow

SIZE_PX = 16
TEST_PER_CLASS = 50
BAR_POINTS = 2.0
"""What the kept network may have less than it has with its statistics measured once more."""


def drawn(first: int, classes: int, per_class: int) -> ImageDataset:
    """A patchwork of 4 x 4 grey squares a class, under noise that is nearly as strong."""
    draw = np.random.default_rng([first, classes, per_class])
    patches = np.random.default_rng(first).integers(88, 168, (classes, 4, 4, 1))

    def split(count: int) -> Split:
        labels = np.repeat(np.arange(classes), count)
        noise = draw.integers(-30, 30, (len(labels), SIZE_PX, SIZE_PX, 3))
        squares = patches.repeat(SIZE_PX // 4, axis=1).repeat(SIZE_PX // 4, axis=2)
        pixels = (squares[labels] + noise).astype(np.uint8)
        return Split(pixels, labels.astype(np.int64), Preprocessing(SIZE_PX))

    return ImageDataset(
        name="drawn",
        classes=tuple(f"patchwork {first + label}" for label in range(classes)),
        train=split(per_class),
        test=split(TEST_PER_CLASS),
        image_size_px=SIZE_PX,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fingerprint=f"drawn-{first}-{classes}-{per_class}",
        mirrors=False,
    )


def correct_percent(network: ExpandableNetwork, pictures: np.ndarray, labels: np.ndarray) -> float:
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return float(100 * (logits.argmax(1).numpy() == labels).mean())


def measured_again(network: ExpandableNetwork, batches: list[torch.Tensor]) -> ExpandableNetwork:
    """The network with BatchNorm's statistics of these batches, by torch's own cumulative mean."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    return network


def accuracies(run: Path, tests: list[ImageDataset]) -> tuple[float, float, float]:
    """In percent: as kept, and measured again on exemplars as training shows them, and plain."""
    state = State.read(run / "state")
    place = {name: label for label, name in enumerate(state.settings.classes)}
    pixels = np.concatenate([data.test.pixels() for data in tests])
    labels = np.concatenate(
        [[place[data.classes[label]] for label in data.test.labels] for data in tests]
    )
    exemplars = state.exemplars.pixels()
    images = ResidentImages(
        exemplars, np.zeros(len(exemplars), np.int64), torch.device("cpu"), mirrors=False
    )
    draw = torch.Generator().manual_seed(99)
    crops = [batch for _ in range(16) for batch, _ in images.training_batches(128, draw)]
    order = np.random.default_rng(0).permutation(len(exemplars))
    plain = [*torch.split(torch.from_numpy(exemplars[order]).permute(0, 3, 1, 2), 128)]
    return (
        correct_percent(state.network(), pixels, labels),
        correct_percent(measured_again(state.network(), crops), pixels, labels),
        correct_percent(measured_again(state.network(), plain), pixels, labels),
    )


@pytest.mark.parametrize(
    ("method", "backbone", "classes", "per_class", "epochs"),
    [
        ("memo", "resnet14", 2, 8, None),
        ("memo", "convnet2", 3, 30, None),
        ("memo", "resnet26", 5, 12, None),
        ("thrift", "resnet14", 3, 30, 20),
        ("memo", "resnet14", 10, 60, 15),
    ],
)
def test_what_is_kept_is_as_good_as_with_its_statistics_measured_again(
    method: str, backbone: str, classes: int, per_class: int, epochs: int | None, tmp_path: Path
) -> None:
    data = drawn(0, classes, per_class)
    request = TrainRequest(
        data="drawn", budget="2MB", method=method, backbone=backbone, epochs=epochs
    )
    train(request, tmp_path / "run", device="cpu", dataset=data)
    kept, crops, plain = accuracies(tmp_path / "run", [data])
    assert kept >= max(crops, plain) - BAR_POINTS
    assert kept > 85


@pytest.mark.parametrize(("method", "backbone"), [("memo", "resnet14"), ("foster", "convnet2")])
def test_so_it_is_after_more_classes_were_learned(
    method: str, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = drawn(0, 3, 20), drawn(3, 2, 20)
    run = str(tmp_path / "run")
    settings = ["--budget", "3MB", "--method", method, "--backbone", backbone]
    settings += ["--image-size", str(SIZE_PX)]
    first = ["--data", str(picture_folder(old, tmp_path / "old")), "--no-resume", "--device", "cpu"]
    then = ["--data", str(picture_folder(new, tmp_path / "new")), "--device", "cpu"]
    for words in (["train", *settings, *first, "--run", run], ["learn", run, *then]):
        monkeypatch.setattr(sys, "argv", ["edgecil", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    kept, crops, plain = accuracies(Path(run), [old, new])
    assert kept >= max(crops, plain) - BAR_POINTS
    assert kept > 85


@pytest.mark.parametrize(
    ("classes", "sizes"), [(1, (1,)), (3, (3,)), (10, (10,)), (25, (10, 10, 5)), (200, (20,) * 10)]
)
def test_few_classes_are_learned_together_where_nothing_else_is_said(
    classes: int, sizes: tuple[int, ...]
) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    assert scenario_of(TrainRequest(data="photos", budget="1MB"), names).sizes == sizes
