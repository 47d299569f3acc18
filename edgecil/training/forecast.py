"""How long a run will still take, by the speed of the machine that it runs on.

Work is counted in pictures that pass forward through one backbone: a training step is about three
such passes a picture, forward and back, and a method that looks at frozen blocks or a teacher has a
pass more for each (`Method.passes`). Seconds a pass are measured: before the run by a short
rehearsal (`edgecil.training.rehearsal`), or by what metrics.csv says of its earlier epochs, and
from the first steps on by training itself, which counts in all that a rehearsal does not see:
pictures that are read from files, checkpoints, other programs on the machine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgecil.words import duration_in_words

MEASURED_SECONDS = 2.0
"""Training's own speed counts once it has gone on for so long."""


@dataclass(frozen=True)
class TimeLeft:
    """How long the rest will take, if the machine stays as fast as it is."""

    task_seconds: float
    """Until the task at hand is learned and measured."""
    run_seconds: float
    """Until the whole run is, this task included."""

    def in_words(self, *, one_task: bool = False) -> str:
        """For a bar; of a run of one task both are the same."""
        told = f"{duration_in_words(self.task_seconds)} left"
        return told if one_task else f"{told}, of the run {duration_in_words(self.run_seconds)}"


@dataclass(frozen=True)
class Effort:
    """What a task takes, as far as it can be known before."""

    images: int
    """Pictures to train on, exemplars included."""
    epochs: int
    """Passes over them, of all phases."""
    passes: float
    """Forward passes that training on a picture is worth."""
    images_after: int
    """Pictures that pass forward once the task is trained: to choose exemplars, and to measure."""

    @property
    def training(self) -> float:
        """Forward passes of training."""
        return self.images * self.epochs * self.passes

    @property
    def afterwards(self) -> float:
        """Forward passes after it: what is trained back and forth goes forth alone there."""
        return self.images_after * max(1.0, self.passes - 2)

    @property
    def whole(self) -> float:
        """Forward passes in all."""
        return self.training + self.afterwards


class Forecast:
    """The time left of a task and of its run.

    Args:
        efforts: one for each task, learned ones included.
        seconds_a_pass: this machine's speed as far as it is known before; None for not at all.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        efforts: Sequence[Effort],
        seconds_a_pass: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._efforts, self._clock = list(efforts), clock
        self._seconds_a_pass = seconds_a_pass
        self._stage = 1
        self._done = self._measured_from = 0
        self._began: float | None = None
        self._ended: float | None = None

    def begin_task(self, stage: int, images: int, finished_epochs: int = 0) -> None:
        """Task `stage`, counted from 1, is about to be trained on so many images."""
        self._efforts[stage - 1] = replace(self._efforts[stage - 1], images=images)
        self._stage, self._began, self._ended = stage, None, None
        self._done = self._measured_from = images * finished_epochs

    def step(self, images: int) -> None:
        """A training step on so many images is done."""
        self._done += images
        if self._began is None:
            # The first step is slower than others, and not counted.
            self._began, self._measured_from = self._clock(), self._done
            return
        seconds, images_seen = self._clock() - self._began, self._done - self._measured_from
        if seconds >= MEASURED_SECONDS and images_seen:
            passes = self._efforts[self._stage - 1].passes
            self._seconds_a_pass = seconds / images_seen / passes

    def end_training(self) -> None:
        """The task at hand is trained; what is left of it is choosing and measuring."""
        effort = self._efforts[self._stage - 1]
        self._done, self._ended = effort.images * effort.epochs, self._clock()

    def left(self) -> TimeLeft | None:
        """What is left by now; None where nothing is known of the speed."""
        speed, effort = self._seconds_a_pass, self._efforts[self._stage - 1]
        if speed is None:
            return None
        undone = max(0, effort.images * effort.epochs - self._done) * effort.passes
        afterwards = effort.afterwards * speed
        if self._ended is not None:
            afterwards = max(0.0, afterwards - (self._clock() - self._ended))
        task_seconds = undone * speed + afterwards
        later = sum(effort.whole for effort in self._efforts[self._stage :])
        return TimeLeft(task_seconds, task_seconds + later * speed)
