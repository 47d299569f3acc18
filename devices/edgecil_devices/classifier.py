"""Pictures in, labels out: the part of edgecil that a program on the device uses."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.arrangement_choice import file_for
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.images import ImageSource, read_pixels
from edgecil_devices.manifest import Manifest
from edgecil_devices.parallel_reading import Undecoded, read_together
from edgecil_devices.runtime import Runtime
from edgecil_devices.store.reading import open_bundle


class Candidate(NamedTuple):
    """One class a picture may belong to."""

    label: str
    score: float
    """Softmax probability, 0 to 1."""


@dataclass(frozen=True)
class Timing:
    """Where the time for one picture went, in milliseconds."""

    preprocess: float
    """Reading, decoding and resizing."""
    trunk: float
    blocks: float
    head: float

    @property
    def total(self) -> float:
        """From the picture to its label."""
        return self.preprocess + self.trunk + self.blocks + self.head


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about one picture."""

    label: str
    """The most probable class."""
    score: float
    """Its softmax probability, 0 to 1."""
    top: tuple[Candidate, ...]
    """The most probable classes, best first; the first is `label`."""
    timing_ms: Timing
    """Where the time went."""


class Classifier:
    """Classifies pictures with a bundle.

    It belongs to the process that loaded it, whose threads may share it.

    Example:
        >>> classifier = Classifier.load("cats.edgecil")
        >>> classifier.predict("cat.jpg").label
        'tabby'
    """

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        self.manifest = manifest
        self._runtime = runtime

    @classmethod
    def load(cls, path: str | Path, threads: int | None = None) -> "Classifier":
        """Read a bundle, check every byte of it and make it ready to run.

        With several threads, the first start finds out how they had better share the work, and
        keeps that in the user's cache folder, or in the store, if it can.

        Args:
            path: a bundle file, or the folder of a store, whose current release is taken.
            threads: how many threads may compute at once; None: as the profile has it.

        Raises:
            BundleError: the file is missing, damaged, of a newer format, or cannot be run.
            StoreError: the store is empty or damaged.
            UsageError: `threads` is below one.
        """
        bundle = open_bundle(path)
        return cls(bundle.manifest, Runtime(bundle, threads, file_for(path)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, in the order in which they were learned."""
        return self.manifest.classes

    @property
    def tasks(self) -> tuple[tuple[str, ...], ...]:
        """The names of the classes of each task."""
        return tuple(self.classes[task.start : task.stop] for task in self.manifest.tasks)

    @property
    def threads(self) -> int:
        """How many threads may compute at once."""
        return self._runtime.threads

    @property
    def arrangement(self) -> str:
        """How trunk and blocks share the threads: "side by side" or "one graph"."""
        return self._runtime.arrangement

    @overload
    def predict(self, source: ImageSource, *, top: int = 5) -> Prediction: ...

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...] | Iterator[Any], *, top: int = 5
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        source: ImageSource | list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        top: int = 5,
    ) -> Prediction | Iterator[Prediction]:
        """Classify one picture, or a list of them one after the other.

        Args:
            source: a path, the bytes of a picture file, a Pillow image or an RGB array of uint8
                (H, W, 3); or a list, tuple or iterator of these.
            top: how many of the most probable classes to return.

        Returns:
            A prediction; for several pictures an iterator that reads and classifies each when it is
            asked for, and keeps none.

        Raises:
            ImageError: a picture cannot be read. An iterator ends there, so to go on after a bad
                picture call `predict` for each.
            UsageError: `top` is below one.
        """
        _require_some(top)
        if isinstance(source, list | tuple | Iterator):
            return (self._predict(one, top) for one in source)
        return self._predict(source, top)

    def predict_batch(
        self, pictures: Sequence[Undecoded], *, top: int = 5
    ) -> list[Prediction | ImageError]:
        """Classify several pictures at once, which takes less time than one after the other.

        All are in memory at once, and so are the networks' intermediate values: keep them few.

        Args:
            pictures: the bytes of picture files, or RGB arrays of uint8 (H, W, 3).
            top: how many of the most probable classes to return.

        Returns:
            In the pictures' order a prediction for each, or why it cannot be read. The times of
            trunk, blocks and head are those of all divided by their number.

        Raises:
            UsageError: `top` is below one.
        """
        _require_some(top)
        outcomes = read_together(pictures, self.manifest.preprocessing, self._runtime.threads)
        readable = [one.pixels for one in outcomes if not isinstance(one.pixels, ImageError)]
        if not readable:
            return [one.pixels for one in outcomes if isinstance(one.pixels, ImageError)]
        inference = self._runtime.run(np.stack(readable))
        parts_ms = (inference.trunk_ms, inference.blocks_ms, inference.head_ms)
        shares_ms = [part_ms / len(readable) for part_ms in parts_ms]
        of_readable = iter(inference.logits)
        return [
            one.pixels
            if isinstance(one.pixels, ImageError)
            else self._prediction(next(of_readable), top, Timing(one.ms, *shares_ms))
            for one in outcomes
        ]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (N, C) of N images that are pixels already, (N, S, S, 3) uint8 RGB.

        All N are in memory at once, so keep N moderate.

        Raises:
            UsageError: the pixels have another shape or type.
            BundleError: the weights give values that are not finite.
        """
        return self._runtime.run(pixels).logits

    def __reduce__(self) -> NoReturn:
        """Tell whoever pickles it, as multiprocessing does, what to do instead.

        Raises:
            TypeError: always, as for whatever else cannot be pickled.
        """
        raise TypeError(
            "a Classifier cannot be pickled, since its graphs live in the process that loaded it; "
            "give the other process the bundle's path, and call Classifier.load(path) there"
        )

    def _predict(self, source: ImageSource, top: int) -> Prediction:
        start = time.perf_counter()
        pixels = read_pixels(source, self.manifest.preprocessing)
        preprocess_ms = (time.perf_counter() - start) * 1e3
        inference = self._runtime.run(pixels[np.newaxis])
        timing = Timing(preprocess_ms, inference.trunk_ms, inference.blocks_ms, inference.head_ms)
        return self._prediction(inference.logits[0], top, timing)

    def _prediction(self, logits: NDArray[np.float32], top: int, timing: Timing) -> Prediction:
        """What the logits (C,) of a picture say."""
        scores = softmax(logits)
        best_first = np.argsort(-scores, kind="stable")[:top]
        candidates = tuple(Candidate(self.classes[c], float(scores[c])) for c in best_first)
        return Prediction(*candidates[0], candidates, timing)


def _require_some(top: int) -> None:
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (..., C) from logits (..., C)."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
