"""results.json: what a run came to, as everybody reads it; torch is not needed.

What was not measured is null. An older edgecil wrote NaN, which is read as null too, and left out
what it did not measure at all.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import mean
from typing import Any

from edgecil.errors import RunError
from edgecil.evaluation.measures import forgetting, session_accuracies
from edgecil.words import tasks_in_words

RESULTS = "results.json"
"""Name of the file in a run's folder."""


@dataclass(frozen=True)
class MergeResult:
    """What became of the tasks before when blocks were merged, just before a new task was learned.

    Accuracies are over the test images of all classes before, in percent, by task; None where a
    class of a task has no test images.
    """

    blocks: tuple[tuple[int, ...], ...]
    """The tasks, from 0, that each merged block stands for."""
    before: tuple[float | None, ...]
    """Accuracy by task at the end of the task before."""
    after: tuple[float | None, ...]
    """Accuracy by task with merged blocks."""

    @property
    def in_words(self) -> str:
        """What was merged, and what became of the tasks before, for a line in a terminal."""
        merged = "; ".join(f"tasks {tasks_in_words(tasks)}" for tasks in self.blocks)
        pairs = list(zip(self.before, self.after, strict=True))
        told = ", ".join(f"{_rounded(before)}->{_rounded(after)}" for before, after in pairs)
        known = [(a - b, k) for k, (b, a) in enumerate(pairs) if a is not None and b is not None]
        if len(pairs) > _MOST_TOLD and known:
            changed, worst = mean(change for change, _ in known), min(known)[1]
            before, after = pairs[worst]
            told = (
                f"{changed:+.1f} points on average, task {worst + 1} lost most "
                f"({_rounded(before)}->{_rounded(after)})"
            )
        return f"one block now for {merged}; accuracy by task {told}"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "MergeResult":
        """The result that `asdict` made a dict of."""
        blocks = tuple(map(tuple, content["blocks"]))
        return cls(blocks, tuple(content["before"]), tuple(content["after"]))


_MOST_TOLD = 12
"""Tasks whose accuracies are told one by one."""


def _rounded(accuracy: float | None) -> str:
    return "?" if accuracy is None else f"{accuracy:.0f}"


@dataclass(frozen=True)
class StageResult:
    """What a run came to after one task."""

    stage: int
    """Counted from 1."""
    classes: int
    """Classes learned so far."""
    accuracy: float | None
    """Top-1 accuracy over the test images of all classes so far, in percent; None without any."""
    accuracy_by_task: tuple[float | None, ...]
    """The same for the images of each task; None where a class of it has no test images."""
    state_bytes: int
    """Sum of the sizes of all files of the state."""
    bytes_by_owner: dict[str, int]
    """The same by trunk, blocks, head, exemplars and names."""
    exemplars: int
    """Pictures kept."""
    seconds: float
    """Time spent on the task, evaluation included."""
    nearest_mean_accuracy: float | None = None
    """The same as `accuracy` with the nearest mean of exemplars; None where it is not measured."""
    measured_classes: int | None = None
    """Classes that had test images; an older edgecil did not say."""
    block_tasks: tuple[tuple[int, ...], ...] | None = None
    """The tasks, from 0, that each block stands for; None where no block was ever merged."""
    merge: MergeResult | None = None
    """The merge of blocks that the task began with; None where nothing was merged."""

    @property
    def is_whole(self) -> bool:
        """Whether all classes so far had test images.

        What covers some of them compares with nothing, so tables and curves are without it.
        """
        if self.measured_classes is None:  # tasks without an accuracy had no images
            return None not in self.accuracy_by_task
        return self.measured_classes == self.classes

    @property
    def whole_accuracy(self) -> float | None:
        """The accuracy if it covers all classes so far, else None."""
        return self.accuracy if self.is_whole else None

    @property
    def whole_nearest_mean_accuracy(self) -> float | None:
        """The same with the nearest mean of exemplars."""
        return self.nearest_mean_accuracy if self.is_whole else None

    @property
    def accuracy_in_words(self) -> str:
        """The accuracy, and what it covers where that is not all classes."""
        if self.accuracy is None:
            return "not measured"
        if self.is_whole:
            return f"{self.accuracy:.2f} %"
        covered = "some" if self.measured_classes is None else str(self.measured_classes)
        return f"{self.accuracy:.2f} % over {covered} of {self.classes} classes"


@dataclass(frozen=True)
class RunResults:
    """What a run came to so far; nothing where no task is finished yet."""

    stages: tuple[StageResult, ...] = ()
    """One a finished task."""
    finished: bool = False
    """Whether these are all tasks."""
    method: str = ""
    """Name of the method."""
    backbone: str = ""
    """Name of the backbone."""
    budget_bytes: int = 0
    """Bound on the state."""
    seed: int = 0
    """The run's."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of edgecil and the packages under it."""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """What it ran on."""

    @property
    def learned(self) -> int:
        """Tasks learned so far, those with lost results among them."""
        return self.stages[-1].stage if self.stages else 0

    @property
    def accuracies(self) -> list[float | None]:
        """Session accuracies in percent; None where some class was not tested, or a result lost."""
        return session_accuracies({one.stage: one.whole_accuracy for one in self.stages})

    @property
    def nearest_mean_accuracies(self) -> list[float | None]:
        """The same with the nearest mean of exemplars, where it was measured."""
        return session_accuracies(
            {one.stage: one.whole_nearest_mean_accuracy for one in self.stages}
        )

    @property
    def accuracy_matrix(self) -> list[tuple[float | None, ...]]:
        """Accuracy of task i after task k in row k, in percent; a row is empty if it is lost."""
        known = {one.stage: one.accuracy_by_task for one in self.stages}
        return [known.get(stage, ()) for stage in range(1, self.learned + 1)]

    @property
    def forgetting(self) -> list[float | None]:
        """Forgetting after every task, in points; None from a lost result on."""
        return forgetting(self.accuracy_matrix)

    @property
    def seconds(self) -> float:
        """Time spent on all tasks."""
        return sum(stage.seconds for stage in self.stages)


def read_results(run: Path) -> RunResults:
    """The results of the run in a folder; what a later edgecil adds to them is passed over.

    Raises:
        RunError: the file is not what was written.
    """
    path = run / RESULTS
    if not path.exists():
        return RunResults()
    content = read_object(path)
    with refusing_damage(path):
        content["stages"] = tuple(map(_stage, content["stages"]))
        return RunResults(**{named.name: content[named.name] for named in fields(RunResults)})


def _stage(content: Mapping[str, Any]) -> StageResult:
    names = {named.name for named in fields(StageResult)}
    known = {name: value for name, value in content.items() if name in names}
    known["accuracy_by_task"] = tuple(content["accuracy_by_task"])
    known["bytes_by_owner"] = dict(content["bytes_by_owner"])
    if known.get("block_tasks") is not None:
        known["block_tasks"] = tuple(map(tuple, content["block_tasks"]))
    if known.get("merge") is not None:
        known["merge"] = MergeResult.from_dict(content["merge"])
    return StageResult(**known)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of results; NaN is None.

    Raises:
        RunError: the file is not what was written.
        FileNotFoundError: there is none.
    """
    with refusing_damage(path):
        return dict(json.loads(path.read_bytes(), parse_constant=lambda _: None))


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Name the file where what is read from it is not what was written.

    Raises:
        RunError: whatever else reading other content raises.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged; restore it from a copy") from error
