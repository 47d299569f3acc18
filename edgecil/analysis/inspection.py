"""What a run's history shows: the three views of all its stages, and what is missing.

Shapes: S stages with their last epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgecil.analysis.cka import SMALLEST_BATCH
from edgecil.analysis.views import layer_changes, require_enough, similarities
from edgecil.data import ImageDataset
from edgecil.errors import EdgecilError, RunError, UsageError
from edgecil.methods import method_named
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.networks.newest import NewestBackbone, layers_in
from edgecil.training.history import GradientNorm, StageHistory, load_weights
from edgecil.training.run import Run
from edgecil.training.run_data import Labelled, RunData, load_source
from edgecil.training.settings import RunSettings


@dataclass(frozen=True)
class Layer:
    """One layer of the newest backbone."""

    name: str
    """`stem`, or the number of its group and its own in it."""
    group: str
    """The group that it is in."""
    in_trunk: bool
    """Whether all tasks share it."""
    parameters: int
    """Its weights and biases; BatchNorm's running statistics are none."""


@dataclass(frozen=True)
class Change:
    """How far a layer went within a stage."""

    stage: int
    """Counted from 1."""
    layer: str
    """Its name."""
    mean_squared_change: float
    """Mean over its parameters of the squared difference of first and last epoch."""
    relative_change: float
    """The squared length of that difference over the squared length of the first."""


@dataclass(frozen=True)
class Similarity:
    """How alike the stages' networks see the same images."""

    stages: tuple[int, ...]
    """S stages, counted from 1."""
    images: int
    """Test images, of all classes up to the last of these stages."""
    by_depth: dict[str, list[list[float]]]
    """Linear CKA (S, S) by the name of the depth, shallow to deep; nan where nothing varies."""


@dataclass(frozen=True)
class Inspection:
    """The three views of a run."""

    settings: RunSettings
    """The run's."""
    layers: tuple[Layer, ...]
    """Shallow to deep."""
    learned_stages: tuple[int, ...]
    """The stages whose last epoch is there."""
    shown_stage: int
    """The stage whose gradients are drawn."""
    gradients: tuple[GradientNorm, ...]
    """Of all stages, epochs and layers."""
    changes: tuple[Change, ...]
    """Of all stages whose first and last epoch are there."""
    similarity: Similarity | None
    """None where there are no images, or fewer than two stages with their last epoch."""
    notes: tuple[str, ...]
    """What is missing, and why."""


def inspect_run(
    folder: Path,
    *,
    stage: int | None,
    data_dir: Path | None,
    image_count: int,
    device: torch.device,
) -> Inspection:
    """Work the three views out.

    Args:
        folder: of the run, finished or not.
        stage: whose gradients are to be shown; None for the last one that was learned.
        data_dir: where built-in data sets are.
        image_count: test images for the similarity, drawn with the run's seed.
        device: where to compute.

    Raises:
        RunError: no run, one without a history, or one whose history is damaged.
        UsageError: nothing is recorded of the stage, or there are too few images.
    """
    require_enough(image_count)
    run = Run(folder)
    settings = run.settings()
    stages = [each for each in run.history.stages() if each.gradients()]
    if run.history.is_kept and not stages and run.stage_results():
        raise RunError(
            f"{folder} has no epoch recorded of the tasks that it has learned, which needed none, "
            "as with slda behind a frozen trunk, or came before --keep-history; there is nothing "
            "to analyse"
        )
    if run.history.is_kept and not stages:
        raise RunError(
            f"{folder} has no finished epoch yet; go on with {settings.going_on(folder, 0)}"
        )
    if not stages:
        raise RunError(
            f"{folder} has no history of its training; train again with --keep-history "
            "and another --run folder"
        )
    last = [each for each in stages if each.last_epoch_file.exists()]
    whole = [each for each in last if each.first_epoch_file.exists()]
    recorded = [each.stage for each in stages]
    if stage is not None and stage not in recorded:
        listed = ", ".join(map(str, recorded))
        raise UsageError(f"nothing is recorded of task {stage}; give --task one of: {listed}")
    notes = _gaps(run, settings, stages)
    if len(last) < 2:
        notes.append("similarity is between tasks: two must have been learned")
    similarity = None
    if len(last) > 1:
        datasets, lost = _datasets(settings, data_dir)
        test = RunData(datasets, settings.tasks).test(last[-1].stage)
        if len(test.labels) >= SMALLEST_BATCH:
            similarity = _similarity(settings, last, test, image_count, device)
        elif not lost:
            lost.append(f"of {len(test.labels)} test pictures it cannot be told; put more back")
        what = "is without these" if similarity else "is left out"
        notes += [f"the networks' similarity {what}: {reason}" for reason in lost]
    return Inspection(
        settings=settings,
        layers=_layers(settings),
        learned_stages=tuple(each.stage for each in last),
        shown_stage=stage or (last or stages)[-1].stage,
        gradients=tuple(row for each in stages for row in each.gradients()),
        changes=tuple(change for each in whole for change in _changes(settings, each)),
        similarity=similarity,
        notes=tuple(notes),
    )


def _network(settings: RunSettings, weights: Path | None = None) -> ExpandableNetwork:
    """A network of one block, the newest; its head is nobody's."""
    parts = cut_backbone(settings.backbone, settings.cut)
    network = ExpandableNetwork(parts, 1, mean=settings.mean, std=settings.std)
    if weights:
        load_weights(weights, network)
    return network


def _layers(settings: RunSettings) -> tuple[Layer, ...]:
    backbone = NewestBackbone.of(_network(settings))
    return tuple(
        Layer(
            name=name,
            group=group_name,
            in_trunk=place < backbone.trunk_groups,
            parameters=sum(parameter.numel() for parameter in layer.parameters()),
        )
        for place, (group_name, group) in enumerate(backbone.groups().items())
        for name, layer in layers_in(group_name, group).items()
    )


def _changes(settings: RunSettings, stage: StageHistory) -> list[Change]:
    first, last = (
        NewestBackbone.of(_network(settings, file))
        for file in (stage.first_epoch_file, stage.last_epoch_file)
    )
    return [Change(stage.stage, name, *way) for name, way in layer_changes(first, last).items()]


def _similarity(
    settings: RunSettings,
    stages: Sequence[StageHistory],
    test: Labelled,
    image_count: int,
    device: torch.device,
) -> Similarity:
    order = np.random.default_rng(settings.seed).permutation(len(test.labels))
    pixels = test.pictures.pixels(order[:image_count])
    networks = [_network(settings, stage.last_epoch_file) for stage in stages]
    by_depth = similarities(networks, pixels, device)
    return Similarity(
        stages=tuple(stage.stage for stage in stages),
        images=len(pixels),
        by_depth={depth: matrix.tolist() for depth, matrix in by_depth.items()},
    )


def _datasets(
    settings: RunSettings, data_dir: Path | None
) -> tuple[list[ImageDataset | None], list[str]]:
    """The data of every source, None for those that are gone, and why these are."""
    found: list[ImageDataset | None] = []
    lost = []
    for source in settings.sources:
        try:
            found.append(load_source(settings, source, data_dir))
        except EdgecilError as error:
            found.append(None)
            lost.append(str(error))
    return found, lost


def _gaps(run: Run, settings: RunSettings, recorded: Sequence[StageHistory]) -> list[str]:
    """What the history lacks, a line each."""
    learned = max((result.stage for result in run.stage_results()), default=0)
    there = {stage.stage for stage in recorded}
    absent = [stage for stage in range(1, settings.stage_count + 1) if stage not in there]
    begun = [stage.stage for stage in recorded if not stage.last_epoch_file.exists()]
    late = [stage.stage for stage in recorded if not stage.first_epoch_file.exists()]
    short = [stage.stage for stage in recorded if stage.gradients()[-1].epoch == 1]
    closed_form = method_named(settings.method).keeps_statistics and 1 in there
    told = (
        (
            [stage for stage in absent if stage <= learned],
            "learned without training" if closed_form else "trained without --keep-history",
        ),
        ([stage for stage in absent if stage > learned], "not trained yet"),
        (begun, "unfinished: gradients alone are shown, as far as they go"),
        (late, "recorded from a later epoch on: the change since the first is left out"),
        ([stage for stage in short if stage not in begun], "of one epoch: nothing changes in it"),
    )
    return [f"task {', '.join(map(str, some))}: {what}" for some, what in told if some]
