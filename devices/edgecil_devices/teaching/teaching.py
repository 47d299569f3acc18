"""Teaching as a classifier has it: nothing is read or computed before it is needed."""

import contextlib
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.bundle import Bundle
from edgecil_devices.errors import StoreDamagedError
from edgecil_devices.golden import golden_of
from edgecil_devices.runtime import Runtime
from edgecil_devices.teaching.features import AT_ONCE, TaughtFeatures
from edgecil_devices.teaching.head import KnownClasses
from edgecil_devices.teaching.known import blots, guessed_classes
from edgecil_devices.teaching.overlay import Overlay
from edgecil_devices.teaching.statistics import unpacked
from edgecil_devices.teaching.teacher import Teacher


class Teaching:
    """What was, or may be, taught beside a bundle.

    Args:
        path: the bundle's file or the store's folder.
        bundle: what is run.
        runtime: runs it.
    """

    def __init__(self, path: str | Path, bundle: Bundle, runtime: Runtime) -> None:
        self.overlay = Overlay(path)
        self._runtime = runtime
        self._release = hashlib.sha256(bundle.manifest_json).hexdigest()
        needed = (bundle.manifest.statistics, *(bundle.manifest.golden or ()))
        blobs = {blob.name: bundle.blobs[blob.name] for blob in needed if blob}
        self._bundle = replace(bundle, blobs=blobs)  # the graphs are in memory once, as they run
        self._teacher: Teacher | None = None

    @property
    def anything(self) -> bool:
        """Whether anything was taught that has a say: costs a look at one file's name.

        Where the store's state cannot be read nothing has, and the release answers without it.
        """
        try:
            return self.overlay.exists and self.overlay.allowed
        except (OSError, StoreDamagedError):
            return False

    @property
    def teacher(self) -> Teacher:
        """Teaches, and tells what was taught.

        Raises:
            BundleCorruptError: the bundle's statistics or golden samples are not what they should
                be.
        """
        if self._teacher is None:
            manifest = self._bundle.manifest
            features = TaughtFeatures(
                self.overlay, self._release, self._features, manifest.preprocessing
            )
            self._teacher = Teacher(self.overlay, manifest.classes, self._known(), features)
        return self._teacher

    def prepare(self) -> None:
        """Compute what answers need of what was taught; where that is damaged they will say so."""
        if self.anything:
            with contextlib.suppress(StoreDamagedError):
                self.teacher.prepare()

    def _features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = np.split(pixels, range(AT_ONCE, len(pixels), AT_ONCE))
        return np.concatenate([self._runtime.run(part).embedding for part in parts])

    def _known(self) -> KnownClasses:
        manifest, blobs = self._bundle.manifest, self._bundle.blobs
        facts, blob = manifest.teaching, manifest.statistics
        if facts and blob:
            return unpacked(blobs[blob.name], blob.name, facts, self._runtime.embedding_size)
        pixels = blots(manifest.preprocessing.image_size_px)
        if golden := golden_of(self._bundle):
            pixels = np.concatenate([golden.pixels, pixels])
        return guessed_classes(*self._runtime.head, self._features(pixels))
