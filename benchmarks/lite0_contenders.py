"""What lite0_latency.py compares: a bundle of EfficientNet-Lite0, and Lite0 as a user exports it.

Shapes: N pictures, S image size, K blocks, C classes.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.networks.efficientnet_lite import lite0_groups
from edgecil.networks.folding import without_batch_norms
from edgecil_devices import Preprocessing
from edgecil_export import ExportRequest, export

BACKBONE, CUT, TRUNK_GROUPS = "efficientnet-lite0", "b14", 16
CLASSES_PER_TASK = 10
CALIBRATION_PICTURES = 32

Pixels = NDArray[np.uint8]


def noise_pictures(count: int, size_px: int) -> Pixels:
    """Random pixels (N, S, S, 3), coarse enough to have edges."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(size_px // 8, axis=1).repeat(size_px // 8, axis=2)


def write_bundles(folder: Path, size_px: int, blocks: int) -> None:
    """`fp32.edgecil` and `int8.edgecil`: a frozen trunk and K thin blocks, with random weights."""
    _random_state(size_px, blocks).write(folder / "run" / "state", None)
    for compute in ("fp32", "int8"):
        request = ExportRequest(compute=compute, force=True)
        export(folder / "run", folder / f"{compute}.edgecil", request)


def _random_state(size_px: int, blocks: int) -> State:
    """A state of K tasks whose statistics are those of noise, which int8 is calibrated on, too."""
    torch.manual_seed(blocks)
    settings = StateSettings(
        method="memo",
        backbone=BACKBONE,
        cut=CUT,
        precision="fp32",
        codec="raw",
        preprocessing=Preprocessing(size_px),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        block_count=blocks,
        classes=tuple(f"class-{c}" for c in range(blocks * CLASSES_PER_TASK)),
        task_sizes=(CLASSES_PER_TASK,) * blocks,
    )
    network = settings.empty_network()
    pixels = noise_pictures(CALIBRATION_PICTURES, size_px)
    images = network.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    trunk = _with_statistics(nn.Sequential(*lite0_groups()[:TRUNK_GROUPS]), images)
    network.trunk.load_state_dict(without_batch_norms(trunk).state_dict())
    with torch.no_grad():
        feature_map = network.trunk(images)
    for block in network.blocks:
        _with_statistics(block, feature_map)
    codec = codec_named(settings.codec)
    payloads = [codec.encode_many(pixels[:6])] * len(settings.classes)
    exemplars = ExemplarSet.empty(codec, size_px).with_new_classes(payloads)
    return State.of(settings, network.eval(), exemplars)


def _with_statistics(module: nn.Module, images: Tensor) -> nn.Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    with torch.no_grad():
        module.train()(images)
    return module.eval()


class WholeLite0(nn.Module):
    """Lite0 as it is published, with a head for C classes: images (N, 3, S, S) -> logits (N, C)."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        *groups, last = lite0_groups()
        pooled = list(last.children())
        self.layers = nn.Sequential(
            *groups,
            pooled[0],
            nn.Conv2d(320, 1280, 1, bias=False),
            nn.BatchNorm2d(1280, eps=1e-3),
            nn.ReLU6(),
            *pooled[1:],
            nn.Linear(1280, class_count),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images normalised to -1..1 -> logits."""
        logits: Tensor = self.layers(images)
        return logits


def write_single(folder: Path, size_px: int, class_count: int) -> None:
    """`fp32.onnx` by torch.onnx, and `int8.onnx` of it by onnxruntime, with their defaults."""
    from onnxruntime.quantization import quantize_static

    torch.manual_seed(0)
    images = torch.from_numpy(as_images(noise_pictures(CALIBRATION_PICTURES, size_px)))
    network = _with_statistics(WholeLite0(class_count), images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future
        torch.onnx.export(
            network,
            (images[:1],),
            folder / "fp32.onnx",
            input_names=["images"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    quantize_static(
        folder / "fp32.onnx", folder / "int8.onnx", _Reader(images.numpy()), per_channel=True
    )


def as_images(pixels: Pixels) -> NDArray[np.float32]:
    """What such a network takes, as a user would make it: pixels (N, S, S, 3) -> (N, 3, S, S)."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


class _Reader:
    """Gives the calibration one image after another."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._left: Iterator[Any] = iter(images[:, None])

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {"images": image}
