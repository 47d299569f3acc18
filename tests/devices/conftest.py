"""A bundle small enough to be worked out by hand: 1x1 convolutions on 8x8 pictures.

Shapes: S=8, a feature map of 4 channels, K=2 blocks of D=3 features, C=3 classes in two tasks.
And what a device installs, made of this tree.
"""

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecil_devices.blobs import Blob
from edgecil_devices.images import Preprocessing
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import pack

Floats = NDArray[np.float64]
IMAGE_SIZE_PX, MAP_CHANNELS, FEATURES = 8, 4, 3
BASE_INSTALL = Path(__file__).parents[2] / "benchmarks" / "base_install.py"
# Taken before the tests get a cache folder of their own: pip's makes installing shorter.
CACHE = os.environ.get("XDG_CACHE_HOME")


class Graphs:
    """Makes the blobs of a tiny bundle. A class, so that tests can have it as a fixture."""

    @staticmethod
    def trunk(weight: Floats, image_size_px: int = IMAGE_SIZE_PX) -> bytes:
        side = image_size_px
        nodes = [
            helper.make_node("Transpose", ["pixels"], ["nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["nchw"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["scaled"]),
            helper.make_node("Conv", ["scaled", "weight"], ["conv"]),
            helper.make_node("Relu", ["conv"], ["feature_map"]),
        ]
        source = ("pixels", TensorProto.UINT8, ["N", side, side, 3])
        sink = ("feature_map", TensorProto.FLOAT, ["N", len(weight), side, side])
        return _model(nodes, source, sink, weight=weight[:, :, None, None], scale=np.array(1 / 255))

    @staticmethod
    def block(weight: Floats, batch: int | str = "N") -> bytes:
        nodes = [
            helper.make_node("Conv", ["feature_map", "weight"], ["conv"]),
            helper.make_node("GlobalAveragePool", ["conv"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["features"]),
        ]
        shape = [batch, weight.shape[1], IMAGE_SIZE_PX, IMAGE_SIZE_PX]
        source = ("feature_map", TensorProto.FLOAT, shape)
        sink = ("features", TensorProto.FLOAT, [batch, len(weight)])
        return _model(nodes, source, sink, weight=weight[:, :, None, None])

    @staticmethod
    def npy(array: NDArray[Any]) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        return stream.getvalue()


def _model(nodes: list[onnx.NodeProto], source: Any, sink: Any, **weights: Floats) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info(*sink)],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


@dataclass
class TinyNetwork:
    """Weights, the graphs made of them, and the logits they must give, in float64."""

    trunk: Floats
    blocks: list[Floats]
    head: Floats
    classes: tuple[str, ...] = ("ape", "bee", "cat")
    overrides: dict[str, bytes] = field(default_factory=dict)

    def logits(self, pixels: NDArray[np.uint8]) -> Floats:
        feature_map = np.maximum(0, np.einsum("nhwc,kc->nhwk", pixels / 255, self.trunk))
        features = [
            np.einsum("nhwk,dk->nhwd", feature_map, block).mean(axis=(1, 2))
            for block in self.blocks
        ]
        return np.concatenate(features, axis=1) @ self.head[:, :-1].T + self.head[:, -1]

    def blobs(self) -> dict[str, bytes]:
        graphs = {"trunk.onnx": Graphs.trunk(self.trunk)}
        graphs |= {f"block-{k:02}.onnx": Graphs.block(b) for k, b in enumerate(self.blocks)}
        return graphs | {"head.npy": Graphs.npy(self.head.astype(np.float32))} | self.overrides

    def manifest(self) -> Manifest:
        trunk, *blocks, head = self.blobs().items()
        described = Blob.of(trunk[0], "trunk", trunk[1])
        return Manifest(
            classes=self.classes,
            tasks=(range(2), range(2, len(self.classes))),
            preprocessing=Preprocessing(IMAGE_SIZE_PX),
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            weights="fp32",
            opset=18,
            ir_version=8,
            min_onnxruntime="1.24.4",
            blobs=(
                described,
                *(
                    Blob.of(name, "block", data, task=k, features=3, trunk=described.sha256)
                    for k, (name, data) in enumerate(blocks)
                ),
                Blob.of(head[0], "head", head[1]),
            ),
        )

    def save(self, path: Path) -> Path:
        path.write_bytes(pack(self.manifest(), self.blobs()))
        return path


@pytest.fixture
def graphs() -> type[Graphs]:
    return Graphs


@pytest.fixture
def tiny() -> TinyNetwork:
    rng = np.random.default_rng(0)
    return TinyNetwork(
        trunk=rng.normal(size=(MAP_CHANNELS, 3)),
        blocks=[rng.normal(size=(FEATURES, MAP_CHANNELS)) for _ in range(2)],
        head=rng.normal(size=(3, 2 * FEATURES + 1)),
    )


@pytest.fixture
def bundle_path(tiny: TinyNetwork, tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "tiny.edgecil")


class BaseInstall:
    """What `benchmarks/base_install.py` does, where a package index can be reached.

    Args:
        script: that file, imported.
    """

    def __init__(self, script: ModuleType) -> None:
        self.script = script

    def wheel(self, folder: Path) -> Path:
        with self._index():
            wheel: Path = self.script.build_wheel(folder)
        return wheel

    def environment(self, wheel: Path, folder: Path) -> Path:
        with self._index():
            python: Path = self.script.install(wheel, folder)
        return python

    @staticmethod
    @contextmanager
    def _index() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            if CACHE is None:
                patch.delenv("XDG_CACHE_HOME")
            else:
                patch.setenv("XDG_CACHE_HOME", CACHE)
            try:
                yield
            except subprocess.CalledProcessError as error:
                # An index that answers lists versions, of which none may do: that would be our
                # fault.
                if "(from versions: none)" in error.stderr:
                    why = error.stderr.splitlines()[-1]
                    pytest.skip(f"no package index can be reached: {why}")
                raise AssertionError(error.stderr) from error


@pytest.fixture(scope="session")
def base_install() -> BaseInstall:
    spec = importlib.util.spec_from_file_location("base_install", BASE_INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["base_install"] = module
    spec.loader.exec_module(module)
    return BaseInstall(module)


@pytest.fixture(scope="session")
def wheel(base_install: BaseInstall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree."""
    return base_install.wheel(tmp_path_factory.mktemp("wheel"))
