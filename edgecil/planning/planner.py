"""The planner: what fits a byte budget, stage by stage, before anything is trained."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from edgecil.budget import format_bytes
from edgecil.errors import BudgetError
from edgecil.memory import weights
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplar_sizes import uniform_size
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.methods import Method
from edgecil.networks import BACKBONES, cut_backbone
from edgecil.networks.backbones import can_be_cut
from edgecil_devices.images import Preprocessing

PUBLISHED_BYTES_PER_PARAMETER = 4
"""The published rule counts fp32 parameters, without heads and BatchNorm statistics."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a budget has to hold."""

    method: Method
    """How the network grows."""
    task_sizes: tuple[int, ...]
    """Classes of every task up to the horizon."""
    image_size_px: int
    """S, height and width of a picture."""
    images_per_class: int
    """Training pictures of a class: more exemplars there cannot be."""
    precision: str
    """How weights are encoded."""
    codec: str
    """How exemplars are encoded."""
    exemplar_bytes: float
    """Mean bytes of an encoded exemplar."""
    accounting: str = "strict"
    """`strict` counts files, `published` parameters and raw pixels."""
    shorter_side_px: int | None = None
    """The margin of the preprocessing, which is written into the state."""
    class_names: tuple[str, ...] = ()
    """Names in learning order, which are kept too; unnamed classes count ten letters each."""


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


@lru_cache
def parameter_counts(backbone: str, cut: str) -> tuple[int, int]:
    """Parameters of trunk and block, heads and BatchNorm statistics left out."""
    trunk, block = (
        sum(parameter.numel() for parameter in module.parameters())
        for module in _shapes(backbone, cut)
    )
    return trunk, block


def _shapes(backbone: str, cut: str) -> tuple[nn.Module, nn.Module]:
    """Trunk and block without weights: only their shapes count here."""
    parts = cut_backbone(backbone, cut)
    with torch.device("meta"):
        return parts.trunk(), parts.block()


@lru_cache
def encoded_sizes(backbone: str, cut: str, precision: str) -> tuple[int, int]:
    """Bytes of trunk and block in the state."""
    trunk, block = _shapes(backbone, cut)
    return weights.encoded_size(trunk, precision), weights.encoded_size(block, precision)


def _strict_model_bytes(demand: Demand, backbone: str, cut: str, stage: int) -> int:
    """Bytes of every file but the exemplars', after task `stage`."""
    classes, blocks = sum(demand.task_sizes[:stage]), demand.method.blocks_after(stage)
    with torch.device("meta"):
        head = nn.Linear(blocks * cut_backbone(backbone, cut).feature_size, classes)
    trunk_bytes, block_bytes = encoded_sizes(backbone, cut, demand.precision)
    names = demand.class_names or tuple(f"class-{c:04d}" for c in range(classes))
    settings = StateSettings(
        method=demand.method.name,
        backbone=backbone,
        cut=cut,
        precision=demand.precision,
        codec=demand.codec,
        preprocessing=Preprocessing(demand.image_size_px, shorter_side_px=demand.shorter_side_px),
        mean=(0.1234, 0.1234, 0.1234),
        std=(0.1234, 0.1234, 0.1234),
        block_count=blocks,
        classes=names[:classes],
        task_sizes=demand.task_sizes[:stage],
    )
    parts = ["trunk.safetensors", *(f"block-{k:02d}.safetensors" for k in range(blocks))]
    exemplars = ExemplarSet.empty(codec_named(demand.codec), demand.image_size_px)
    index = State(settings, dict.fromkeys([*parts, "head.safetensors"], b""), exemplars)
    head_bytes = weights.encoded_size(head, demand.precision)
    return trunk_bytes + blocks * block_bytes + head_bytes + index.size_without_exemplars_bytes


def _exemplars_file_bytes(demand: Demand, classes: int, count: int) -> int:
    """Size of a file of `count` exemplars of mean size."""
    codec, length = codec_named(demand.codec), math.ceil(demand.exemplar_bytes)
    return uniform_size(classes, count, length, codec, demand.image_size_px)


def _fitting_exemplars(demand: Demand, classes: int, capacity_bytes: int) -> int:
    """How many exemplars fit a file of `capacity_bytes`, by bisection."""
    pictures = classes * demand.images_per_class * demand.method.keeps_exemplars
    low, high = 0, min(pictures, max(0, capacity_bytes) // math.ceil(demand.exemplar_bytes))
    while low < high:
        middle = (low + high + 1) // 2
        if _exemplars_file_bytes(demand, classes, middle) <= capacity_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _least_exemplars(demand: Demand, classes: int) -> int:
    """One a class, where the method keeps any."""
    return classes if demand.method.keeps_exemplars else 0


def plan_strict(demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
    """Every file of the state, after every task, with the budget filled at each."""
    stages, smallest = [], 0
    for stage in range(1, len(demand.task_sizes) + 1):
        classes = sum(demand.task_sizes[:stage])
        model_bytes = _strict_model_bytes(demand, backbone, cut, stage)
        exemplars = _fitting_exemplars(demand, classes, budget_bytes - model_bytes)
        total_bytes = model_bytes + _exemplars_file_bytes(demand, classes, exemplars)
        stages.append(StagePlan(stage, classes, model_bytes, exemplars, total_bytes))
        least = _exemplars_file_bytes(demand, classes, _least_exemplars(demand, classes))
        smallest = max(smallest, model_bytes + least)
    return Plan(backbone, cut, budget_bytes, tuple(stages), smallest)


def published_model_bytes(method: Method, backbone: str, cut: str, stage: int) -> int:
    """The network after task `stage` as the papers count it."""
    trunk, block = parameter_counts(backbone, cut)
    return PUBLISHED_BYTES_PER_PARAMETER * (trunk + method.blocks_after(stage) * block)


def published_memory(
    method: Method, backbone: str, cut: str, tasks: int, image_size_px: int, budget_bytes: int
) -> int:
    """Exemplars that the papers' rule grants at every task: what is left after the last one."""
    if not method.keeps_exemplars:
        return 0
    spare_bytes = budget_bytes - published_model_bytes(method, backbone, cut, tasks)
    return max(0, spare_bytes // (image_size_px**2 * 3))


def plan_published(demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
    """The papers' rule: parameters and raw pixels, bound after the last task only."""
    image_bytes, last = demand.image_size_px**2 * 3, len(demand.task_sizes)
    memory = published_memory(
        demand.method, backbone, cut, last, demand.image_size_px, budget_bytes
    )
    stages = []
    for stage in range(1, last + 1):
        classes = sum(demand.task_sizes[:stage])
        model_bytes = published_model_bytes(demand.method, backbone, cut, stage)
        total_bytes = model_bytes + memory * image_bytes
        stages.append(StagePlan(stage, classes, model_bytes, memory, total_bytes))
    least = _least_exemplars(demand, stages[-1].classes)
    smallest = stages[-1].model_bytes + least * image_bytes
    return Plan(backbone, cut, budget_bytes, tuple(stages), smallest)


def plan(demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
    """What `backbone` comes to under the demand's accounting."""
    planned = {"strict": plan_strict, "published": plan_published}[demand.accounting]
    return planned(demand, backbone, cut, budget_bytes)


def fitting(demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
    """The plan of a backbone that was asked for.

    Raises:
        BudgetError: it does not fit; the message names the smallest budget that does.
    """
    planned = plan(demand, backbone, cut, budget_bytes)
    if not planned.fits:
        raise too_small(planned)
    return planned


def alternatives(demand: Demand, cut: str, budget_bytes: int) -> list[Plan]:
    """A plan for every backbone that suits the images and the method and can be cut there."""
    suited = [
        backbone.name
        for backbone in BACKBONES.values()
        if backbone.smallest_image_px <= demand.image_size_px <= backbone.largest_image_px
        and can_be_cut(backbone, cut)
        and (backbone.width == 1 or demand.method.takes_wide_backbones)
    ]
    return [plan(demand, name, cut, budget_bytes) for name in suited]


def too_small(smallest: Plan) -> BudgetError:
    """The error for a budget that holds nothing; `smallest` is the plan that needs the least."""
    return BudgetError(
        f"{format_bytes(smallest.budget_bytes)} cannot hold {len(smallest.stages)} tasks; "
        f"the smallest budget that fits is {format_bytes(smallest.smallest_budget_bytes)}, "
        f"with {smallest.backbone} and one exemplar a class"
    )
