"""Pictures in, labels out: the part of edgecil that a program on the device uses."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.arrangement_choice import file_for
from edgecil_devices.bundle import Bundle
from edgecil_devices.class_names import composed
from edgecil_devices.computation import AUTO
from edgecil_devices.errors import ImageError, UsageError
from edgecil_devices.images import ImageSource, read_pixels
from edgecil_devices.manifest import Manifest
from edgecil_devices.parallel_reading import Undecoded, read_together
from edgecil_devices.prediction import (
    Candidate,
    Prediction,
    TaughtCandidate,
    Timing,
    softmax,
)
from edgecil_devices.runtime import Inference, Runtime
from edgecil_devices.store.reading import open_bundle
from edgecil_devices.teaching.head import log_sum_exp
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.step import TeachingStep, named_pictures, teach_pictures
from edgecil_devices.teaching.teacher import TaughtClass, Teacher
from edgecil_devices.teaching.teaching import Teaching
from edgecil_devices.teaching_facts import UnknownFacts

USEFUL_AUROC = 0.65
"""Below this, unknown pictures cannot be told in any useful way."""


class Classifier:
    """Classifies pictures with a bundle.

    It belongs to the process that loaded it, whose threads may share it.

    Example:
        >>> classifier = Classifier.load("cats.edgecil")
        >>> classifier.predict("cat.jpg").label
        'tabby'
        >>> classifier.teach("mug", ["mug1.jpg", "mug2.jpg", "mug3.jpg"])
    """

    def __init__(
        self, manifest: Manifest, runtime: Runtime, teaching: Teaching | None = None
    ) -> None:
        self.manifest = manifest
        self._runtime = runtime
        self._teaching = teaching

    @classmethod
    def load(
        cls, path: str | Path, threads: int | None = None, compute: str | None = AUTO
    ) -> "Classifier":
        """Read a bundle, check every byte of it and make it ready to run.

        The first start finds out how several threads had better share the work, and whether half
        precision or Winograd's products are faster, where the processor is one for them; it keeps
        that in the user's cache folder, or in the store, if it can.

        Args:
            path: a bundle file, or the folder of a store, whose current release is taken.
            threads: how many threads may compute at once; None: as the profile has it.
            compute: "auto": what is fastest on this processor, if golden samples agree; "fp32",
                "fp16" or "int8"; None: as the bundle was exported.

        Raises:
            BundleError: the file is missing, damaged, of a newer format, or cannot be run.
            StoreError: the store is empty or damaged.
            UsageError: `threads` is below one, or there is no such `compute`.
        """
        return cls.of(open_bundle(path), path, threads, compute)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        path: str | Path,
        threads: int | None = None,
        compute: str | None = AUTO,
    ) -> "Classifier":
        """Make a bundle ready that was read already.

        Args:
            bundle: every byte of it checked.
            path: where it came from: the file, or the folder of the store.
            threads: as of `load`.
            compute: as of `load`.

        Raises:
            BundleError: it cannot be run.
            UsageError: `threads` is below one, or there is no such `compute`.
        """
        runtime = Runtime(bundle, threads, file_for(path), compute)
        return cls(bundle.manifest, runtime, Teaching(path, bundle, runtime))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the release's classes, in the order in which they were learned."""
        return self.manifest.classes

    def prepare(self) -> None:
        """Compute what answers need of what was taught, which else the first picture waits for."""
        if self._teaching:
            self._teaching.prepare()

    @property
    def taught(self) -> list[TaughtClass]:
        """What was taught on this device, label by label; without a say in a store with --no-teach.

        Raises:
            StoreDamagedError: the list of it is altered.
        """
        return self._teacher().summary()

    @property
    def taught_bytes(self) -> int:
        """What all that was taught takes of its budget.

        Raises:
            StoreDamagedError: the list of it is altered.
        """
        return self._teacher().size_bytes

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

    @property
    def compute(self) -> str:
        """How it is computed: one of `computation.COMPUTATIONS`."""
        return self._runtime.compute

    @property
    def note(self) -> str:
        """Why another computation is not used, though it was tried; empty where none was."""
        return self._runtime.note

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
        logits, taught = self._with_taught(inference)
        of_readable = iter(logits)
        return [
            one.pixels
            if isinstance(one.pixels, ImageError)
            else self._prediction(next(of_readable), taught, top, Timing(one.ms, *shares_ms))
            for one in outcomes
        ]

    def knows(self, prediction: Prediction, passing_percent: float = 95) -> bool:
        """Whether a picture is like anything that is known, as most known pictures are.

        Thresholds are of the release's classes: a picture that is taken for one of them must have
        the energy that most of their own have. What was taught lies where these classes have little
        of it, and has too few pictures to measure how much is usual there, so whatever is taken for
        a taught class counts as known.

        Args:
            prediction: what this classifier said of it.
            passing_percent: how many percent of the release's own pictures are to pass.

        Raises:
            UsageError: the bundle has no thresholds.
        """
        threshold = self._unknown().threshold(passing_percent)
        return prediction.taught or prediction.energy >= threshold

    def unknown_in_words(self, passing_percent: float) -> str:
        """What `knows` is worth, one line for people.

        Raises:
            UsageError: the bundle has no thresholds.
        """
        facts = self._unknown()
        useless = facts.auroc < USEFUL_AUROC
        advice = "; that is hardly better than chance, do not rely on it" if useless else ""
        return (
            f"unknown: {passing_percent:g} % of known pictures pass; other things are told from "
            f"them with an AUROC of about {100 * facts.auroc:.0f} % (50 is chance){advice}"
        )

    def _unknown(self) -> UnknownFacts:
        if self.manifest.unknown is None:
            raise UsageError(
                "the bundle does not say when a picture is unknown; export it with --teachable "
                "where its test pictures are, or give --threshold"
            )
        return self.manifest.unknown

    def teach(
        self,
        label: str,
        pictures: Iterable[ImageSource],
        *,
        names: Sequence[str] | None = None,
        budget_bytes: int | None = None,
    ) -> TeachingStep:
        """Teach a new class from a few pictures; answers know it from then on.

        What is taught is kept as pictures beside the bundle, or in the store, within a budget, and
        survives the next release. The same label again adds pictures.

        Args:
            label: the name of the class; not one of the release's.
            pictures: one or more; five are the least that tell much, twenty are good.
            names: where each came from, to be shown with it; None: its path, or its number.
            budget_bytes: a new bound on all that is kept so; 4 MB where none was ever given.

        Returns:
            What that came to. Pictures that cannot be read are left out and named.

        Raises:
            UsageError: an impossible label, no readable picture, pictures above the budget, or a
                store that was made with --no-teach.
            StoreError: what is taught cannot be written or is damaged; nothing has changed.
        """
        return self._teach(label, pictures, names, False, budget_bytes)

    def correct(
        self,
        pictures: ImageSource | list[Any] | tuple[Any, ...] | Iterator[Any],
        label: str,
        *,
        names: Sequence[str] | None = None,
        budget_bytes: int | None = None,
    ) -> TeachingStep:
        """Teach a class of the release, or a taught one, what was taken for something else.

        The class gets a second prototype of the corrected pictures; what it was stays as it is.

        Args:
            pictures: one, or a list, tuple or iterator of them.
            label: what they show.
            names: as in `teach`.
            budget_bytes: as in `teach`.

        Raises:
            UsageError, StoreError: as `teach`.
        """
        some = pictures if isinstance(pictures, list | tuple | Iterator) else [pictures]
        return self._teach(label, some, names, True, budget_bytes)

    def forget(self, label: str) -> int:
        """Forget what was taught with a label; how many pictures that were.

        Raises:
            UsageError: nothing was.
            StoreError: it cannot be written.
        """
        return len(self._teacher().overlay.forget(composed(label)))

    def undo(self) -> None:
        """Take back the last step of teaching, correcting or forgetting.

        Raises:
            UsageError: there is none.
            StoreError: it cannot be written.
        """
        self._teacher().overlay.undo()

    @property
    def problems(self) -> list[str]:
        """Taught pictures that cannot be read any more, a line each."""
        return self._teacher().problems

    @property
    def overlay(self) -> Overlay:
        """Where what was taught is kept."""
        return self._teacher().overlay

    def _teach(
        self,
        label: str,
        pictures: Iterable[Any],
        names: Sequence[str] | None,
        correction: bool,
        budget_bytes: int | None,
    ) -> TeachingStep:
        teacher = self._teacher()
        teacher.overlay.require_allowed()
        label = teacher.require_label(label, correction=correction)
        named = named_pictures(pictures, names)
        return teach_pictures(teacher, label, named, self.manifest.preprocessing, budget_bytes)

    def _teacher(self) -> Teacher:
        if self._teaching is None:
            raise UsageError("this classifier was made of no bundle's file; use Classifier.load")
        return self._teaching.teacher

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
        logits, taught = self._with_taught(inference)
        return self._prediction(logits[0], taught, top, timing)

    def _with_taught(self, inference: Inference) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """The logits (N, C + T) with those of taught classes, and the labels of these."""
        if self._teaching is None or not self._teaching.anything:
            return inference.logits, ()
        return self._teaching.teacher.logits(inference.embedding, inference.logits)

    def _prediction(
        self, logits: NDArray[np.float32], taught: tuple[str, ...], top: int, timing: Timing
    ) -> Prediction:
        """What the logits (C + T,) of a picture say."""
        scores, labels = softmax(logits), self.classes + taught
        best_first = np.argsort(-scores, kind="stable")[:top]
        candidates = tuple(
            (Candidate if c < len(self.classes) else TaughtCandidate)(labels[c], float(scores[c]))
            for c in best_first
        )
        # Thresholds were found without taught classes, so these have no part in the energy: ten of
        # them would let nearly everything pass.
        energy = float(log_sum_exp(logits[: len(self.classes)].astype(np.float64)))
        return Prediction(*candidates[0], candidates, timing, energy)


def _require_some(top: int) -> None:
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")
