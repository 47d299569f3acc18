"""The bounded queue before the classifier: pictures wait their turn, and too many are sent away."""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from edgecil_devices.classifier import Classifier
from edgecil_devices.collecting import Collector, Unsure, kept_by
from edgecil_devices.prediction import Prediction
from edgecil_devices.serving.messages import busy

T = TypeVar("T")


class Classified(NamedTuple):
    """A prediction, by which release, and how long it was waited for."""

    prediction: Prediction
    release: int | None
    known: bool | None
    """Whether the picture is like anything that is known; None where that was not asked for."""
    waited_ms: float


class Classifying:
    """Classifies one picture after the other, in a thread beside the event loop.

    One at a time, since a picture's blocks use all threads already, and since a decoded picture may
    take 192 MB.

    Args:
        classifier: gives the classifier for the next picture.
        queue: how many pictures may wait besides the one at work.
        unknown_percent: how many percent of known pictures are to pass as known; None asks nothing.
        collector: keeps the pictures of unsure answers.
    """

    def __init__(
        self,
        classifier: Callable[[], Classifier],
        queue: int,
        unknown_percent: float | None = None,
        collector: Collector | None = None,
    ) -> None:
        self.current = classifier
        self.queue_limit = queue
        self._unknown_percent, self._collector = unknown_percent, collector
        self._pool = ThreadPoolExecutor(1, "classify")
        self._under_way = 0

    @property
    def waiting(self) -> int:
        """Pictures that wait their turn."""
        return max(0, self._under_way - 1)

    async def classify(self, picture: bytes, top: int) -> Classified:
        """Classify the bytes of a picture file.

        Raises:
            RequestError: too many pictures wait already.
            ImageError: the picture cannot be read.
            BundleError: the weights give values that are not finite.
        """
        arrived = time.perf_counter()

        def work(classifier: Classifier) -> Classified:
            waited_ms = (time.perf_counter() - arrived) * 1e3
            prediction = classifier.predict(picture, top=top)
            known = self._is_known(classifier, prediction)
            if self._collector is not None:
                unsure = Unsure(prediction.label, prediction.score, known is not False)
                kept_by(self._collector, picture, unsure, _warn)
            return Classified(prediction, classifier.manifest.release, known, waited_ms)

        return await self.apply(work)

    async def apply(self, work: Callable[[Classifier], T]) -> T:
        """Let `work` have the classifier alone, when its turn comes.

        Raises:
            RequestError: too many pictures wait already.
        """
        if self._under_way > self.queue_limit:
            raise busy(f"{self.queue_limit} pictures wait already")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, lambda: work(self.current())
            )
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Wait for the picture at work; those that still wait are dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _is_known(self, classifier: Classifier, prediction: Prediction) -> bool | None:
        # A later release of a store may have no thresholds.
        if self._unknown_percent is None or classifier.manifest.unknown is None:
            return None
        return classifier.knows(prediction, self._unknown_percent)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
