"""Pictures of one colour each, and a bundle that tells some colours and can be taught others."""

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecil_devices.blobs import Blob
from edgecil_devices.bundle import read_bundle
from edgecil_devices.closed_form import ClassStatistics
from edgecil_devices.package import pack
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.head import Covariance, KnownClasses
from edgecil_devices.teaching.statistics import packed
from edgecil_devices.teaching_facts import OF_BLOCKS, OF_TRUNK

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

Pixels = NDArray[np.uint8]


def pictures(colour: tuple[int, int, int], count: int, seed: int = 0) -> list[Pixels]:
    noise = np.random.default_rng(seed).integers(-20, 20, (count, 8, 8, 3))
    return list(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def files(folder: Path, colour: tuple[int, int, int], count: int, seed: int = 0) -> list[Path]:
    folder.mkdir(exist_ok=True)
    made = []
    for number, pixels in enumerate(pictures(colour, count, seed)):
        made.append(folder / f"{seed}-{number}.png")
        Image.fromarray(pixels).save(made[-1])
    return made


RED, BLUE = (230, 20, 20), (20, 30, 235)
COLOURS = ((30, 200, 30), (210, 200, 40), (120, 120, 120))
"""Of the release's classes."""


def save_teachable(
    tiny: "TinyNetwork", path: Path, rules: str = "trained", of: str = OF_BLOCKS
) -> Path:
    """A bundle that tells green, yellow and grey, with the statistics of how it does."""
    plain = Runtime(read_bundle(tiny.save(path)), 1)
    statistics = ClassStatistics.empty(6)
    for label, colour in enumerate(COLOURS):
        features = plain.run(np.stack(pictures(colour, 30, label))).features
        statistics = statistics.added(features, label)
    rows, biases = statistics.head()
    tiny.head = np.ascontiguousarray(np.column_stack([rows, biases]))
    known = KnownClasses(
        statistics.means,
        statistics.counts.astype(float),
        Covariance.of(statistics.covariance, 3),
        0.1,
        0.5,
        rules,
    )
    if of == OF_TRUNK:
        known = of_trunk(tiny, known)
    table, facts = packed(known, of)
    blobs = tiny.blobs() | {"statistics.npy": npy(table)}
    blob = Blob.of("statistics.npy", "statistics", blobs["statistics.npy"])
    manifest = tiny.manifest()
    whole = replace(manifest, blobs=(*manifest.blobs, blob), teaching=facts, format_number=2)
    path.write_bytes(pack(whole, blobs))
    return path


def of_trunk(tiny: "TinyNetwork", known: KnownClasses) -> KnownClasses:
    """The same of the means of the trunk's feature map, worked out without the runtime."""
    statistics = ClassStatistics.empty(len(tiny.trunk))
    for label, colour in enumerate(COLOURS):
        pixels = np.stack(pictures(colour, 30, label))
        statistics = statistics.added(map_means(tiny, pixels), label)
    covariance = Covariance.of(statistics.covariance, 2)
    return replace(known, means=statistics.means, covariance=covariance)


def map_means(tiny: "TinyNetwork", pixels: Pixels) -> NDArray[np.float32]:
    """The trunk's feature map of pixels (N, S, S, 3), averaged over its positions: (N, M)."""
    feature_map = np.maximum(0, np.einsum("nhwc,kc->nhwk", pixels / 255, tiny.trunk))
    means: NDArray[np.float32] = feature_map.mean(axis=(1, 2)).astype(np.float32)
    return means


def npy(table: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, table, allow_pickle=False)
    return stream.getvalue()
