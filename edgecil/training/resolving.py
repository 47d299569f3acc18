"""From what a person asks for to the settings of a run: data, tasks, and the planner's choice."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgecil.data import ImageDataset, load_dataset, located, read_class_list
from edgecil.data.layout import split_roots
from edgecil.data.scenario import Scenario, class_increments, read_tasks
from edgecil.errors import DataError, UsageError
from edgecil.methods import method_named
from edgecil.methods.recipes import epochs_for, recipe_named
from edgecil.networks.backbones import pretrained_named, refuse_small_images
from edgecil.networks.sources import Origin, origin_of_file
from edgecil.planning.block_limits import BlockBound
from edgecil.planning.data_facts import DataFacts
from edgecil.planning.plans import Demand, Plan
from edgecil.planning.schedules import Epochs, EqualWork, task_pictures
from edgecil.planning.tradeoffs import Choice
from edgecil.training.request import TrainRequest
from edgecil.training.settings import PlannedTask, RunSettings, Source
from edgecil.training.stopping import parse_duration
from edgecil.words import duration_in_words
from edgecil_devices.preprocessing import FOR_PHOTOS

DEFAULT_TASK_COUNT = 10
"""Tasks into which the classes are cut when nothing else is said ..."""

LEAST_DEFAULT_INCREMENT = 10
"""... and classes that such a task has at least: a network learns little from two or three alone,
and nothing from one. Fewer classes are learned together."""


def scenario_of(request: TrainRequest, classes: tuple[str, ...]) -> Scenario:
    """The tasks that were asked for.

    Raises:
        DataError, UsageError: they do not fit the classes.
    """
    if protocol := request.followed:
        if len(classes) != protocol.class_count:
            many = len(classes) > protocol.class_count
            remedy = (
                "name these in a file and give it as --classes-file" if many else "check --data"
            )
            raise DataError(
                f"{request.chosen_data} has {len(classes)} classes and {protocol.name} "
                f"{protocol.class_count}; {remedy}"
            )
        return class_increments(len(classes), protocol.base, protocol.increment, request.seed)
    if request.tasks:
        return read_tasks(request.tasks, classes)
    increment = request.increment
    if increment is None:
        tenth = math.ceil(len(classes) / DEFAULT_TASK_COUNT)
        increment = min(len(classes), max(tenth, LEAST_DEFAULT_INCREMENT))
    return class_increments(len(classes), request.base, increment, request.seed)


def demand_of(
    settings: RunSettings, facts: DataFacts, kept: Mapping[str, int] | None = None
) -> Demand:
    """What the budget has to hold for a run whose next pictures are those of `facts`.

    Args:
        settings: of the run.
        facts: of the pictures. Classes that they do not have count as its others.
        kept: pictures that are there of classes which the run has learned already.
    """
    pictures = dict(kept or {}) | dict(zip(facts.classes, facts.class_pictures, strict=True))
    usual, horizon = facts.pictures_per_class, sum(settings.horizon_sizes)
    known = [pictures.get(name, usual) for name in settings.classes]
    return Demand(
        method=method_named(settings.method, trunk=settings.trunk),
        task_sizes=settings.horizon_sizes,
        image_size_px=settings.image_size_px,
        shorter_side_px=settings.shorter_side_px,
        reading=settings.reading,
        class_pictures=(*known, *[usual] * (horizon - len(known))),
        precision=settings.precision,
        codec=settings.codec,
        exemplar_bytes=facts.exemplar_bytes[settings.codec],
        origin=settings.origin,
        accounting=settings.accounting,
        class_names=settings.classes,
        max_blocks=settings.max_blocks,
    )


T = TypeVar("T")

Pace = Callable[[RunSettings], float]
"""Settings -> seconds of a forward pass of a picture through their backbone, on this machine."""


def once(measure: Callable[[RunSettings], T]) -> Callable[[RunSettings], T]:
    """`measure`, taken once of each network, whatever else the settings say."""
    known: dict[tuple[str, str], T] = {}

    def measured(settings: RunSettings) -> T:
        network = settings.backbone, settings.cut
        if network not in known:
            known[network] = measure(settings)
        return known[network]

    return measured


def resolve(
    request: TrainRequest,
    facts: DataFacts,
    reading: str = FOR_PHOTOS,
    pace: Pace | None = None,
    origin: Origin | None = None,
) -> tuple[RunSettings, Plan, str]:
    """Settle everything the request leaves open.

    Args:
        request: what is asked for.
        facts: of its data.
        reading: how picture files are read.
        pace: measures this machine where the request gives a time; None leaves the time out.
        origin: of the weights of a run that goes on; None for what the request says.

    Returns:
        The run's settings, what they come to stage by stage, and why it is this backbone, which is
        nothing where the request names it, with what the method gives up.

    Raises:
        BudgetError: the budget cannot hold the tasks.
        DataError, UsageError, WeightsError: the request cannot be met.
        TooShortError: the time is not enough for one epoch a task.
    """
    scenario, comes = scenario_of(request, facts.classes), pretrained_named(request.backbone)
    # Every other setting is as the request has it under the same name.
    settled: dict[str, Any] = {
        "sources": (source_of(request.chosen_data or "", request.holdout, facts),),
        "image_size_px": facts.image_size_px,
        "shorter_side_px": facts.shorter_side_px,
        "reading": reading,
        "mean": comes.mean if comes else facts.mean,
        "std": comes.std if comes else facts.std,
        "origin": origin or origin_of(request),
        "weights": str(request.weights.absolute()) if request.weights else None,
        "mirrors": facts.mirrors and not request.no_mirror,
        "brightens": request.followed.brightens if request.followed else True,
        "augmentation": request.augmentation
        or recipe_named(request.chosen_recipe, request.chosen_method).augmentation,
        "tasks": tuple(
            PlannedTask(tuple(facts.classes[c] for c in task.classes), 0) for task in scenario.tasks
        ),
        "method": request.chosen_method,
        "cut": request.chosen_cut,
        "recipe": request.chosen_recipe,
        "time_seconds": parse_duration(request.time) if request.time else 0.0,
        "latency_ms": 0.0,
    }
    asked = {
        setting.name: getattr(request, setting.name)
        for setting in fields(RunSettings)
        if setting.name not in settled
    }
    draft = RunSettings(**asked, **settled)
    demands = [
        demand_of(replace(draft, codec=codec, precision=precision), facts)
        for codec in request.possible_codecs
        for precision in request.possible_precisions
    ]
    backbone, reason = request.backbone, ""
    if backbone is None and (published := request.published_backbone):
        backbone = published
        reason = f"{published} is the published backbone of {request.chosen_method} at this budget"
    if backbone:
        refuse_small_images(backbone, facts.image_size_px)
    work = None
    # Behind a pretrained trunk training takes seconds, and more of it brings nothing.
    if pace and request.time and not comes:
        # Which backbones are asked for, the planner sees as it goes: merging makes room for some.
        speed = cache(lambda name: pace(replace(draft, backbone=name)))
        tests_per_class = facts.test_pictures / len(facts.classes)
        seconds, tasks = parse_duration(request.time), draft.stage_count
        work = EqualWork(seconds, speed, tests_per_class, tasks)
    bound = BlockBound(request.max_blocks, no_merge=request.no_merge)
    choice = bound.chooser(
        demands,
        backbone,
        request.possible_cuts,
        draft.budget_bytes,
        work or schedule_of(draft),
    )
    settings = replace(
        draft,
        backbone=choice.plan.backbone,
        cut=choice.plan.cut,
        codec=choice.demand.codec,
        precision=choice.demand.precision,
        max_blocks=choice.demand.max_blocks,
    )
    told = [reason or choice.reason]
    if work:
        images = work.images_a_task(choice.demand, choice.plan)
        settings = replace(settings, images_a_task=images)
        told.append(_length_in_words(images, work, choice))
    elif pace and request.time:
        told.append("behind a pretrained trunk more time brings nothing, so the recipe's is taken")
    told.append(_of_a_single_class(settings))
    if not comes and request.counting.bounds_files and len(settings.horizon_sizes) > 1:
        told.append(method_named(request.chosen_method).price)
    return settings, choice.plan, "\n".join(filter(None, told))


def _of_a_single_class(settings: RunSettings) -> str:
    """What comes of a first task that has one class; "" where it matters little, or has several."""
    first, *later = settings.horizon_sizes
    if first == 1 and not later:
        return "one class alone is told from nothing: every picture will be found to be of it"
    frozen = method_named(settings.method).keeps_statistics or settings.trunk == "freeze"
    if first > 1 or not frozen or settings.origin:
        return ""
    return (
        "one class alone teaches nothing, so what is frozen after the first task stays random: "
        "give that more classes (--base), or take a pretrained --backbone"
    )


def within(
    request: TrainRequest,
    facts: DataFacts,
    most_of: Callable[[RunSettings], int],
    pace: Pace | None,
) -> TrainRequest:
    """The request for the planner's network, with as many blocks as keep a latency at most.

    Args:
        request: what is asked for.
        facts: of its pictures.
        most_of: settings -> how many blocks of their network keep it.
        pace: as of `resolve`.

    Raises:
        EdgecilError: as of `resolve` and `most_of`.
    """
    settings, _, _ = resolve(request, facts, pace=pace)
    most = most_of(settings)
    bound = BlockBound(ceiling=most if most < len(settings.horizon_sizes) else None)
    # What was measured, and for which the planner might merge otherwise if it saw it alone.
    return replace(request, backbone=settings.backbone, max_blocks=bound.over(settings.max_blocks))


def schedule_of(settings: RunSettings) -> Epochs:
    """How long the tasks of a run are trained, by what its settings say."""
    return Epochs(cache(settings.training_recipe))


def _length_in_words(images: int, work: EqualWork, choice: Choice) -> str:
    """How long each task is trained that shows so many images, and the whole run."""
    pictures = task_pictures(choice.demand, choice.plan)[: work.tasks]
    first, last = (epochs_for(images, n) for n in (pictures[0], pictures[-1]))
    seconds = work.takes(choice.demand, choice.plan, images)
    return (
        f"every task shows about {images:,} pictures: {first} epochs of the first, {last} of the "
        f"last, in about {duration_in_words(seconds)} on this machine"
    )


def origin_of(request: TrainRequest) -> Origin | None:
    """Where the weights come from that a run starts with.

    Raises:
        WeightsError: their file cannot be read.
    """
    if request.weights:
        return origin_of_file(request.weights)
    comes = pretrained_named(request.backbone)
    return comes.source.origin if comes else None


def source_of(data: str, holdout: float, facts: DataFacts) -> Source:
    """The source that a run keeps of data, to be found again from wherever it goes on."""
    return Source(located(data), holdout, facts.fingerprint, facts.pictures, facts.held_out)


def load_requested(request: TrainRequest, reading: str = FOR_PHOTOS) -> ImageDataset:
    """The data set of a request, its files read as `Preprocessing` has it.

    Raises:
        DataError, UsageError: it cannot be read.
    """
    protocol, data = request.followed, request.chosen_data
    if data is None:
        raise UsageError(
            f"{request.protocol} learns from a folder of yours; "
            "give --data FOLDER, with train/ and val/ in it"
        )
    if protocol and protocol.images.data is None and None in split_roots(Path(data)):
        raise DataError(
            f"{data}: {protocol.name} wants train/ and val/ in it, each with a folder for every "
            "class; check --data"
        )
    return load_dataset(
        data,
        data_dir=request.data_dir,
        image_size_px=request.chosen_image_size_px,
        shorter_side_px=protocol.images.shorter_side_px if protocol else None,
        holdout=request.holdout,
        seed=request.seed,
        classes=read_class_list(request.classes_file) if request.classes_file else None,
        reading=reading,
    )
