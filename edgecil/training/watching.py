"""What is shown of an epoch while it lasts."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor

from edgecil.methods.lesson import Phase
from edgecil.training.forecast import Forecast
from edgecil.work import Done, work

_READS_SECONDS = 2.0
"""How often the loss is read from a graphics card, which waits for its queue to be empty."""


class EpochWatch:
    """Follows a phase step by step: shows every epoch, and lets the forecast learn the speed.

    Args:
        phase: what is trained.
        finished_epochs: epochs of it that were trained before.
        image_count: images of an epoch.
        forecast: who learns; None for nobody.
    """

    def __init__(
        self, phase: Phase, finished_epochs: int, image_count: int, forecast: Forecast | None
    ) -> None:
        self._phase, self._finished = phase, finished_epochs
        self._image_count, self._forecast = image_count, forecast
        self._shown = ExitStack()
        self._epoch: _Epoch | None = None
        self._done: Done

    def __enter__(self) -> "EpochWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def step(self, images: int, loss_sum: Tensor) -> None:
        """A step is done.

        Args:
            images: of the step.
            loss_sum: of the losses of the epoch's images so far, (), on the device.
        """
        if self._epoch is None:
            self._epoch = _Epoch(time.perf_counter(), images, loss_sum)
            name = f"{self._phase.name} {self._finished + 1}/{self._phase.recipe.epochs}"
            facts = self._epoch.in_words
            self._done = self._shown.enter_context(work(name, self._image_count, facts))
        self._epoch.images, self._epoch.loss_sum = self._epoch.images + images, loss_sum
        if self._forecast:
            self._forecast.step(images)
        self._done(images)

    def end_epoch(self) -> None:
        """The epoch is over."""
        self._shown.close()
        self._finished, self._epoch = self._finished + 1, None


@dataclass
class _Epoch:
    began: float
    """When its first step was done."""
    first_images: int
    """Those of that step, whose time is not known."""
    loss_sum: Tensor
    images: int = 0
    loss: float = 0.0
    read: float = float("-inf")
    """When `loss` was read."""

    def in_words(self) -> str:
        """Mean loss so far, and images a second."""
        now = time.perf_counter()
        if self.loss_sum.device.type == "cpu" or now - self.read > _READS_SECONDS:
            self.loss, self.read = self.loss_sum.item() / self.images, now
        timed = self.images - self.first_images
        speed = f"  {timed / (now - self.began):.0f} images/s" if timed else ""
        return f"loss {self.loss:.3f}{speed}"
