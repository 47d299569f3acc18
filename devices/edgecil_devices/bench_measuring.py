"""What `bench` measures: times of one picture, throughput in batches, memory, the board's state."""

import io
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from edgecil_devices._onnxruntime import version
from edgecil_devices.board import BoardState, board_state, peak_memory_mb
from edgecil_devices.classifier import Classifier
from edgecil_devices.computation import AUTO
from edgecil_devices.images import read_file
from edgecil_devices.limits import usable_cores
from edgecil_devices.prediction_lines import times_ms
from edgecil_devices.profiles import board_model, current_profile
from edgecil_devices.sources import Picture

BATCHES = (1, 4, 16)
PICTURE_SIZE_PX = (640, 480)
"""Width and height of the picture that is classified, those of a plain camera."""

_WARM_UP_S, _LEAST_WARM_UP = 0.5, 3
"""Before it, processors run slower to save power."""
_LEAST_PICTURES = 20
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds below which a half, 90 % and 99 % of the pictures stayed."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "Percentiles":
        """Between two times, as far as the share lies between theirs."""
        return cls(*(float(value) for value in np.percentile(times_ms, (50, 90, 99))))


@dataclass(frozen=True)
class Throughput:
    """Pictures classified several at a time, each decoded too, as `predict --batch` has it."""

    batch: int
    pictures: int
    """How many were measured."""
    pictures_per_s: float


@dataclass(frozen=True)
class Setting:
    """What was measured, and on what."""

    bundle: str
    blocks: int
    classes: int
    image_size_px: int
    weights: str
    compute: str
    """How it was computed, chosen or asked for."""
    compute_note: str
    """Why not in another way, though that was tried."""
    machine: str
    """The board's name where the kernel tells it, or else the kind of processor."""
    profile: str
    cores: int
    """Those that this process may use."""
    python: str
    onnxruntime: str
    threads: int
    arrangement: str
    """How trunk and blocks share the threads."""


@dataclass(frozen=True)
class Report:
    """All that one run of `bench` found."""

    setting: Setting
    load_s: float
    """From before onnxruntime is imported to the loaded classifier."""
    first_ms: float
    """The first picture, which is slower than all others."""
    pictures: int
    """How many were timed one by one."""
    latency_ms: dict[str, Percentiles]
    """Of load, preprocess, trunk, blocks, head and total."""
    throughput: tuple[Throughput, ...]
    memory_mb: float | None
    """The process's peak with one picture at a time."""
    memory_in_batches_mb: float | None
    """Its peak at the end, after the largest batch."""
    load_average: float
    """Programs that were running when it began, this one not yet among them."""
    before: BoardState
    after: BoardState


def measure(
    bundle: Path, threads: int | None, seconds: float, start_s: float, compute: str = AUTO
) -> Report:
    """Measure a bundle.

    Args:
        bundle: a bundle, or the folder of a store.
        threads: how many threads may compute at once; None: as the profile has it.
        seconds: how long to measure, about; half of it one picture at a time.
        start_s: `time.perf_counter()` before this module was imported.
        compute: as of `Classifier.load`.

    Raises:
        BundleError: the bundle cannot be used.
        StoreError: the store cannot be used.
        UsageError: `threads` is below one, or there is no such `compute`.
    """
    before, load_average = board_state(), os.getloadavg()[0]
    classifier = Classifier.load(bundle, threads, compute)
    load_s = time.perf_counter() - start_s
    data = sample_picture()
    with tempfile.TemporaryDirectory(prefix="edgecil-bench-") as folder:
        file = Path(folder) / "picture.jpg"
        file.write_bytes(data)
        first_ms = _one_picture(classifier, file)["total"]
        _warm_up(classifier, file)
        times = _latencies(classifier, file, seconds / 2)
    memory_mb = peak_memory_mb()
    share_s = seconds / 2 / len(BATCHES)
    throughput = tuple(_throughput(classifier, data, batch, share_s) for batch in BATCHES)
    return Report(
        setting=_setting(bundle, classifier),
        load_s=load_s,
        first_ms=first_ms,
        pictures=len(times),
        latency_ms={part: Percentiles.of([one[part] for one in times]) for part in times[0]},
        throughput=throughput,
        memory_mb=memory_mb,
        memory_in_batches_mb=peak_memory_mb(),
        load_average=load_average,
        before=before,
        after=board_state(),
    )


def sample_picture() -> bytes:
    """A JPEG with patches and grain, which takes about as long to decode as a photograph."""
    rng = np.random.default_rng(0)
    patches = Image.fromarray(rng.integers(0, 224, (12, 16, 3), dtype=np.uint8))
    width, height = PICTURE_SIZE_PX
    grain = Image.fromarray(rng.integers(0, 24, (height, width, 3), dtype=np.uint8))
    picture = ImageChops.add(patches.resize(PICTURE_SIZE_PX, Image.Resampling.BICUBIC), grain)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def _one_picture(classifier: Classifier, file: Path) -> dict[str, float]:
    """Milliseconds of load, preprocess, trunk, blocks, head and total."""
    start = time.perf_counter()
    data = read_file(file)
    picture = Picture(file.name, data, (time.perf_counter() - start) * 1e3)
    parts = times_ms(picture, classifier.predict(data))
    return {**parts, "total": sum(parts.values())}


def _warm_up(classifier: Classifier, file: Path) -> None:
    done, end_s = 0, time.perf_counter() + _WARM_UP_S
    while done < _LEAST_WARM_UP or time.perf_counter() < end_s:
        _one_picture(classifier, file)
        done += 1


def _latencies(classifier: Classifier, file: Path, seconds: float) -> list[dict[str, float]]:
    times: list[dict[str, float]] = []
    end_s = time.perf_counter() + seconds
    while len(times) < _LEAST_PICTURES or time.perf_counter() < end_s:
        times.append(_one_picture(classifier, file))
    return times


def _throughput(classifier: Classifier, data: bytes, batch: int, seconds: float) -> Throughput:
    pictures = [data] * batch
    classifier.predict_batch(pictures)  # the first batch of a size has memory to get
    done, start_s = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - start_s < seconds:
        classifier.predict_batch(pictures)
        done += batch
    return Throughput(batch, done, done / (time.perf_counter() - start_s))


def _setting(bundle: Path, classifier: Classifier) -> Setting:
    manifest = classifier.manifest
    return Setting(
        bundle=str(bundle),
        blocks=len(manifest.blocks),
        classes=len(manifest.classes),
        image_size_px=manifest.preprocessing.image_size_px,
        weights=manifest.weights,
        compute=classifier.compute,
        compute_note=classifier.note,
        machine=board_model() or f"{platform.system()} {platform.machine()}",
        profile=current_profile().name,
        cores=usable_cores(),
        python=platform.python_version(),
        onnxruntime=version(),
        threads=classifier.threads,
        arrangement=classifier.arrangement,
    )
