"""The bounded queue before the classifier: pictures wait their turn, and too many are sent away."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from edgecil_devices.classifier import Classifier
from edgecil_devices.prediction import Prediction
from edgecil_devices.serving.messages import busy


class Classified(NamedTuple):
    """A prediction, by which release, and how long it was waited for."""

    prediction: Prediction
    release: int | None
    waited_ms: float


class Classifying:
    """Classifies one picture after the other, in a thread beside the event loop.

    One at a time, since a picture's blocks use all threads already, and since a decoded picture may
    take 192 MB.

    Args:
        classifier: gives the classifier for the next picture.
        queue: how many pictures may wait besides the one at work.
    """

    def __init__(self, classifier: Callable[[], Classifier], queue: int) -> None:
        self.current = classifier
        self.queue_limit = queue
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
        if self._under_way > self.queue_limit:
            raise busy(f"{self.queue_limit} pictures wait already")
        arrived = time.perf_counter()

        def work() -> Classified:
            waited_ms = (time.perf_counter() - arrived) * 1e3
            classifier = self.current()
            prediction = classifier.predict(picture, top=top)
            return Classified(prediction, classifier.manifest.release, waited_ms)

        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Wait for the picture at work; those that still wait are dropped."""
        self._pool.shutdown(cancel_futures=True)
