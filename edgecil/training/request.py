"""From what a person asks for to the settings of a run: data, tasks, and the planner's choice."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgecil.budget import parse_bytes
from edgecil.data import ImageDataset, load_dataset
from edgecil.data.scenario import Scenario, class_increments, read_tasks
from edgecil.errors import DataError, UsageError
from edgecil.memory.codecs import codec_named
from edgecil.memory.weights import PRECISIONS
from edgecil.methods import method_named
from edgecil.networks import cut_backbone
from edgecil.planner import Demand, Plan, choose, fitting
from edgecil.training.facts import DataFacts
from edgecil.training.recipes import recipe_named
from edgecil.training.settings import PlannedTask, RunSettings, Source

ACCOUNTINGS = ("strict", "published")
"""What `--accounting` takes."""

DEFAULT_TASK_COUNT = 10
"""Tasks into which the classes are cut when nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `edgecil train` was asked for; None leaves the choice to edgecil."""

    data: str
    """A built-in data set or a folder of class folders."""
    budget: str
    """Bound on the state, such as 7.6MB."""
    data_dir: Path | None = None
    """Where built-in data sets are."""
    image_size_px: int | None = None
    """Height and width of the pictures that the network sees."""
    holdout: float = 0.2
    """Fraction of a folder's pictures kept for testing where it has no test split."""
    base: int | None = None
    """Classes of the first task."""
    increment: int | None = None
    """Classes of every later task."""
    tasks: Path | None = None
    """A TOML file with the class names of every task."""
    seed: int = 1993
    """Seed of the class order, weights, batches and augmentation."""
    method: str = "memo"
    """Name of the method."""
    backbone: str | None = None
    """Name of the backbone."""
    cut: str | None = None
    """Where the backbone is cut."""
    trunk: str = "auto"
    """Whether the trunk goes on training."""
    accounting: str = "strict"
    """`strict` or `published`."""
    tasks_ahead: int = 0
    """Tasks that the budget must still hold after the last one."""
    codec: str | None = None
    """How exemplars are encoded."""
    precision: str | None = None
    """How weights are encoded."""
    recipe: str = "fast"
    """Name of the training recipe."""
    epochs: int | None = None
    """Epochs a task."""
    first_epochs: int | None = None
    """Epochs of the first task."""
    learning_rate: float | None = None
    """Highest learning rate."""
    batch_size: int | None = None
    """Images a step."""

    def __post_init__(self) -> None:
        """Refuse what cannot be before any data are read."""
        _require_known("accounting", self.accounting, ACCOUNTINGS)
        _require_known("state precision", self.chosen_precision, PRECISIONS)
        if self.accounting == "published" and (self.codec or self.precision):
            raise UsageError(
                "published accounting counts raw pixels and fp32 weights; "
                "leave out --codec and --state-precision"
            )
        if self.tasks_ahead < 0:
            raise UsageError(f"tasks ahead is {self.tasks_ahead}; give 0 or more")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise UsageError(f"learning rate is {self.learning_rate}; give one above 0")
        if self.tasks and (self.base or self.increment):
            raise UsageError("--tasks names every task; leave out --base and --increment")
        parse_bytes(self.budget)
        codec_named(self.chosen_codec)
        method = method_named(self.method, trunk=self.trunk)
        if self.cut and self.cut not in method.cuts:
            cuts = " or ".join(method.cuts)
            raise UsageError(f"{method.name} is cut at {cuts}, not {self.cut!r}; leave out --cut")
        cut_backbone(self.backbone or "resnet14", self.chosen_cut)
        recipe_named(self.recipe, self.method).adapted(
            epochs=self.epochs, first_epochs=self.first_epochs, batch_size=self.batch_size
        )

    @property
    def budget_bytes(self) -> int:
        """The budget in bytes."""
        return parse_bytes(self.budget)

    @property
    def chosen_cut(self) -> str:
        """The cut asked for, or the method's own."""
        return self.cut or method_named(self.method).cuts[0]

    @property
    def chosen_codec(self) -> str:
        """The codec asked for, or the accounting's own."""
        return self.codec or ("raw" if self.accounting == "published" else "webp-lossless")

    @property
    def chosen_precision(self) -> str:
        """The precision asked for, or the accounting's own."""
        return self.precision or ("fp32" if self.accounting == "published" else "fp16")


def _require_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; choose one of: {', '.join(known)}")


def scenario_of(request: TrainRequest, classes: tuple[str, ...]) -> Scenario:
    """The tasks that were asked for.

    Raises:
        DataError, UsageError: they do not fit the classes.
    """
    if request.tasks:
        return read_tasks(request.tasks, classes)
    increment = request.increment
    if increment is None:
        increment = math.ceil(len(classes) / DEFAULT_TASK_COUNT)
    return class_increments(len(classes), request.base, increment, request.seed)


def demand_of(settings: RunSettings, facts: DataFacts) -> Demand:
    """What the budget has to hold for a run whose next pictures are those of `facts`."""
    return Demand(
        method=method_named(settings.method, trunk=settings.trunk),
        task_sizes=settings.horizon_sizes,
        image_size_px=settings.image_size_px,
        images_per_class=facts.images_per_class,
        precision=settings.precision,
        codec=settings.codec,
        exemplar_bytes=facts.exemplar_bytes,
        accounting=settings.accounting,
        class_names=tuple(name for task in settings.tasks for name in task.classes),
    )


def settle(request: TrainRequest, facts: DataFacts) -> tuple[RunSettings, Plan, str]:
    """Settle everything the request leaves open.

    Returns:
        The run's settings, what they come to stage by stage, and why the planner chose this
        backbone; nothing where the request names it.

    Raises:
        BudgetError: the budget cannot hold the tasks.
        DataError, UsageError: the request cannot be met.
    """
    scenario = scenario_of(request, facts.classes)
    draft = RunSettings(
        sources=(Source(request.data, request.holdout, facts.fingerprint),),
        image_size_px=facts.image_size_px,
        mean=facts.mean,
        std=facts.std,
        mirrors=facts.mirrors,
        tasks=tuple(
            PlannedTask(tuple(facts.classes[c] for c in task.classes), 0) for task in scenario.tasks
        ),
        seed=request.seed,
        method=request.method,
        backbone=request.backbone or "",
        cut=request.chosen_cut,
        trunk=request.trunk,
        budget_bytes=request.budget_bytes,
        accounting=request.accounting,
        tasks_ahead=request.tasks_ahead,
        codec=request.chosen_codec,
        precision=request.chosen_precision,
        recipe=request.recipe,
        epochs=request.epochs,
        first_epochs=request.first_epochs,
        learning_rate=request.learning_rate,
        batch_size=request.batch_size,
    )
    demand = demand_of(draft, facts)
    if request.backbone:
        planned, reason = fitting(demand, draft.backbone, draft.cut, draft.budget_bytes), ""
    else:
        planned, reason = choose(demand, draft.cut, draft.budget_bytes)
    return replace(draft, backbone=planned.backbone), planned, reason


def load_requested(request: TrainRequest) -> ImageDataset:
    """The data set of a request.

    Raises:
        DataError, UsageError: it cannot be read.
    """
    return load_dataset(
        request.data,
        data_dir=request.data_dir,
        image_size_px=request.image_size_px,
        holdout=request.holdout,
        seed=request.seed,
    )


def with_new_task(
    settings: RunSettings, data: str, holdout: float, facts: DataFacts, budget_bytes: int
) -> tuple[RunSettings, Plan]:
    """The settings of a run whose next task is all classes of `facts`.

    Raises:
        DataError: a class is known already.
        BudgetError: the budget cannot hold one more task.
    """
    known = {name for task in settings.tasks for name in task.classes}
    again = sorted(known & set(facts.classes))
    if again:
        raise DataError(
            f"the run knows the class {again[0]!r} already; remove its folder from {data}, "
            "or rename it if it is another class"
        )
    task = PlannedTask(facts.classes, len(settings.sources))
    grown = replace(
        settings,
        sources=(*settings.sources, Source(data, holdout, facts.fingerprint)),
        tasks=(*settings.tasks, task),
        tasks_ahead=max(0, settings.tasks_ahead - 1),
        budget_bytes=budget_bytes,
    )
    demand = demand_of(grown, facts)
    return grown, fitting(demand, grown.backbone, grown.cut, budget_bytes)
