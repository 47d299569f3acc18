"""A run as training leaves it, small enough to export in a second: two tasks, two blocks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from edgecil.cli import main
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.networks import ExpandableNetwork
from edgecil_devices.images import Preprocessing
from edgecil_export.graphs import block_template, folded_trunk, trunk_template
from edgecil_export.inference import for_inference

CLASSES = ("ape", "bee", "cat", "dog", "eel")
SETTINGS = StateSettings(
    method="memo",
    backbone="resnet14",
    cut="last",
    precision="fp32",
    codec="raw",
    preprocessing=Preprocessing(16),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.25),
    block_count=2,
    classes=CLASSES,
    task_sizes=(3, 2),
)


def edgecil(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """A command, as it is typed, in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgecil", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def pictures() -> NDArray[np.uint8]:
    """Blots of colour, four a class, (20, 16, 16, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def trained_like(network: ExpandableNetwork) -> ExpandableNetwork:
    """Statistics and a head as training would leave them: nothing is zero, one or equal."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()  # a third as large as at first, as weight decay leaves them
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, low + 1, generator=generator)
    network.head.weight.data.normal_(0, 3, generator=generator)
    with torch.inference_mode():  # so that not every picture is of the same class
        features = network.eval().features(torch.from_numpy(pictures()).permute(0, 3, 1, 2))
        network.head.bias.copy_(-network.head.weight @ features.mean(dim=0))
    return network


@pytest.fixture(scope="session")
def network() -> ExpandableNetwork:
    torch.manual_seed(0)
    return trained_like(SETTINGS.empty_network())


@pytest.fixture(scope="session")
def exemplars() -> ExemplarSet:
    codec = codec_named("raw")
    payloads = [codec.encode_many(p) for p in np.split(pictures(), len(CLASSES))]
    return ExemplarSet.empty(codec, 16).with_new_classes(payloads)


@pytest.fixture(scope="session")
def templates(network: ExpandableNetwork) -> tuple[ModelProto, ModelProto]:
    trunk = folded_trunk(network.trunk, network.mean, network.std)
    feature_map = trunk(torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
    block = for_inference(network.blocks[0])
    return trunk_template(trunk, 16), block_template(block, feature_map)


@pytest.fixture
def run(tmp_path: Path, network: ExpandableNetwork, exemplars: ExemplarSet) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    State.of(SETTINGS, network, exemplars).write(folder / "state", None)
    stage = {"classes": 5, "state_bytes": 1, "bytes_by_owner": {}, "exemplars": 20, "seconds": 1.0}
    stages = [
        {"stage": 1, "accuracy": 90.0, "accuracy_by_task": [90.0], **stage},
        {"stage": 2, "accuracy": 75.0, "accuracy_by_task": [80.0, 70.0], **stage},
    ]
    asked = {"method": "memo", "backbone": "resnet14", "budget_bytes": 1 << 20, "seed": 1}
    results = asked | {"stages": stages, "finished": True, "versions": {}, "hardware": {}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def after_first_task(
    settings: StateSettings, network: ExpandableNetwork, exemplars: ExemplarSet, folder: Path
) -> Path:
    """The run as it was after its first task: the same trunk, the first block, a smaller head."""
    settings = replace(settings, block_count=1, classes=CLASSES[:3], task_sizes=(3,))
    before = settings.empty_network()
    before.trunk.load_state_dict(network.trunk.state_dict())
    before.blocks[0].load_state_dict(network.blocks[0].state_dict())
    width = before.head.weight.shape[1]
    with torch.no_grad():
        before.head.weight.copy_(network.head.weight[:3, :width])
        before.head.bias.copy_(network.head.bias[:3])
    codec = exemplars.codec
    payloads = [codec.encode_many(pictures()[4 * c : 4 * c + 4]) for c in range(3)]
    folder.mkdir()
    of_three = ExemplarSet.empty(codec, 16).with_new_classes(payloads)
    State.of(settings, before, of_three).write(folder / "state", None)
    return folder
