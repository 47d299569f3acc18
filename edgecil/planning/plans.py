"""What a budget has to hold, and what a backbone comes to under it."""

from dataclasses import dataclass

from edgecil.methods import Method
from edgecil.networks.sources import Origin
from edgecil_devices.preprocessing import FOR_PHOTOS


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a budget has to hold."""

    method: Method
    """How the network grows."""
    task_sizes: tuple[int, ...]
    """Classes of every task up to the horizon."""
    image_size_px: int
    """S, height and width of a picture."""
    class_pictures: tuple[int, ...]
    """Training pictures of every class up to the horizon, in learning order: more exemplars there
    cannot be."""
    precision: str
    """How weights are encoded."""
    codec: str
    """How exemplars are encoded."""
    exemplar_bytes: float
    """Mean bytes of an encoded exemplar."""
    accounting: str = "strict"
    """Name of the accounting: what the budget bounds."""
    shorter_side_px: int | None = None
    """The margin of the preprocessing, which is written into the state."""
    reading: str = FOR_PHOTOS
    """How files are read, likewise."""
    origin: Origin | None = None
    """Of weights that a person brings; a backbone that comes pretrained knows its own."""
    class_names: tuple[str, ...] = ()
    """Names in learning order, which are kept too; those that are missing count as `accounting`
    has them."""
    max_blocks: int | None = None
    """Blocks at most; older ones are merged. None for no bound."""
    merged_away: int = 0
    """Blocks that the tasks learned so far have fewer than the method would have without merging;
    no later bound brings them back."""

    def blocks_after(self, stage: int) -> int:
        """Blocks of the network after task `stage`; of one that is learned, no more than it had."""
        most = max(1, self.method.blocks_after(stage) - self.merged_away)
        return min(most, self.max_blocks or most)

    def pictures_of(self, stage: int) -> int:
        """Training pictures of the classes of task `stage`."""
        first = sum(self.task_sizes[: stage - 1])
        return sum(self.class_pictures[first : first + self.task_sizes[stage - 1]])

    def merges(self, stage: int) -> bool:
        """Whether task `stage` begins with a merge of older blocks."""
        return stage > 1 and self.blocks_after(stage) == self.blocks_after(stage - 1) > 1

    def is_merged(self, stage: int) -> bool:
        """Whether blocks have been merged by task `stage`."""
        return self.blocks_after(stage) < self.method.blocks_after(stage)


@dataclass(frozen=True)
class StagePlan:
    """What is kept after one task."""

    stage: int
    """Counted from 1."""
    classes: int
    """Classes learned by then."""
    model_bytes: int
    """All that is not exemplars: weights, and under strict accounting names and headers."""
    exemplars: int
    """Pictures that fit beside it."""
    total_bytes: int
    """Both together, at most the budget."""
    blocks: int = 1
    """Blocks of the network."""


@dataclass(frozen=True)
class Plan:
    """What a backbone comes to under a budget."""

    backbone: str
    """Name of the backbone."""
    cut: str
    """Where it is cut into trunk and block."""
    budget_bytes: int
    """The budget."""
    stages: tuple[StagePlan, ...]
    """One a task."""
    smallest_budget_bytes: int
    """The least budget that holds every stage with one exemplar a class."""

    @property
    def fits(self) -> bool:
        """Whether every stage fits with at least one exemplar a class."""
        return self.budget_bytes >= self.smallest_budget_bytes

    @property
    def exemplars_per_class(self) -> float:
        """At the last stage, where they are fewest."""
        return self.stages[-1].exemplars / self.stages[-1].classes
