"""The classifier to use now: of a bundle, or of a store that is updated meanwhile."""

import threading
import time
from pathlib import Path

from edgecil_devices.classifier import Classifier
from edgecil_devices.computation import AUTO, can_compute
from edgecil_devices.errors import EdgecilError
from edgecil_devices.store.folder import Folder
from edgecil_devices.store.reading import Reading, read_current
from edgecil_devices.store.records import Release

LOOK_EVERY_S = 1.0
"""How often a store is asked whether another release has become current, at most."""

RETRY_EVERY_S = 60.0
"""How often one that could not be loaded is tried again, at most: every byte of it is read then."""


class Following:
    """Gives the classifier of a bundle, or the one that is current in a store.

    A new release is loaded beside the old one, in a thread of its own, and takes its place once it
    is whole. Each classifier is of one release, so whoever asks once a picture never gets a mixture
    of two. If the new one cannot be loaded, the old one stays, and the new one is tried again now
    and then, since it may have been repaired. Safe to call from several threads.

    Args:
        path: a bundle or the folder of a store.
        threads: how many threads may compute at once; None: as the profile has it.
        look_every_s: how often the store is looked at, at most.
        compute: as of `Classifier.load`; a release of a store that cannot be computed so, as one to
            come may not, is computed as it was exported.
        retry_every_s: how often a release that could not be loaded is tried again, at most.

    Raises:
        BundleError: the bundle cannot be used.
        StoreError: the store cannot be used.
        UsageError: `threads` is below one, or there is no such `compute`.

    Example:
        >>> following = Following("/var/lib/edgecil")
        >>> following.classifier().predict("cat.jpg").label
        'tabby'
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        look_every_s: float = LOOK_EVERY_S,
        compute: str | None = AUTO,
        retry_every_s: float = RETRY_EVERY_S,
    ) -> None:
        self._folder = Folder(Path(path))
        self._threads, self._compute = threads, compute
        self._look_every_s, self._retry_every_s = look_every_s, retry_every_s
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None
        self._asked: Release | None = None
        self._release: Release | None = None
        self.problem: str | None = None
        """Why the newest release is not the one in use, or not computed as asked, if it is not."""
        self._is_unloaded = False
        if not self._folder.exists:
            self._next_look = float("inf")
            self._classifier = Classifier.load(path, threads, compute)
            self._classifier.prepare()
            return
        self._asked = self._folder_current()
        self._take(read_current(self._folder.path))
        self._next_look = time.monotonic() + look_every_s
        self._next_try = time.monotonic() + retry_every_s

    @property
    def release(self) -> int | None:
        """The number of the release in use; None for a bundle that is in no store."""
        return self._release.number if self._release else None

    def classifier(self) -> Classifier:
        """The classifier to use for the next picture; returns at once."""
        if time.monotonic() >= self._next_look:
            self._look()
        return self._classifier

    def _look(self) -> None:
        with self._lock:
            if self._loading is not None and self._loading.is_alive():
                return
            now = time.monotonic()
            self._next_look = now + self._look_every_s
            current = self._folder_current()
            tries_again = self._is_unloaded and now >= self._next_try
            if current is None or (current == self._asked and not tries_again):
                return
            self._asked, self._next_try = current, now + self._retry_every_s
            self._loading = threading.Thread(target=self._load)
            self._loading.start()

    def _load(self) -> None:
        try:
            self._take(read_current(self._folder.path))
        except (EdgecilError, OSError, MemoryError) as error:
            self.problem = f"{error or type(error).__name__}; going on with the release before"
            self._is_unloaded = True

    def _take(self, reading: Reading) -> None:
        bundle, compute, unwilling = reading.bundle, self._compute, None
        own = bundle.manifest.compute
        if not can_compute(compute, own):
            unwilling = f"the release computes in {own}; going on with that instead of {compute}"
            compute = None
        if reading.release != self._release:
            path = self._folder.path
            classifier = Classifier.of(bundle, path, self._threads, compute)
            classifier.prepare()
            self._classifier, self._release = classifier, reading.release
        self.problem = reading.warning or unwilling
        self._is_unloaded = reading.warning is not None

    def _folder_current(self) -> Release | None:
        try:
            return self._folder.current()
        except (EdgecilError, OSError):
            return None
