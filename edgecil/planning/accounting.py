"""What a budget bounds: every byte of every file that is kept, or what the papers count."""

import math
from abc import ABC, abstractmethod
from functools import lru_cache, partial
from typing import ClassVar

import torch
from torch import nn

from edgecil.memory import weights
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplar_sizes import uniform_size
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.memory.statistics import STATISTICS_FILE, encoded_size
from edgecil.methods import Method, method_named
from edgecil.networks import cut_backbone
from edgecil.networks.backbones import pretrained_named
from edgecil.planning.candidates import Offer
from edgecil.planning.plans import Demand, Plan, StagePlan
from edgecil_devices.images import Preprocessing

PUBLISHED_BYTES_PER_PARAMETER = 4
"""The published rule counts fp32 parameters, without heads and BatchNorm statistics."""

USUAL_NAME = "class-0000"
"""Counted for each class that has no name yet, or the longest name that is known: a data set's
names are alike, and a budget that holds a task to come must not fail for a few letters."""

_REMEMBERED = 2**14
"""Sizes of each kind. A hundred tasks are planned with more than a thousand networks where merging
is to make room, or time; most of them have their sizes in common."""


class Accounting(ABC):
    """A way to count; a subclass says what a model and exemplars count, and which are kept."""

    bounds_files: ClassVar[bool]
    """Whether the budget bounds the files of the state, and so at every task; else at the last."""
    codec: ClassVar[str | None] = None
    """The one codec of exemplars that it counts; None for any."""
    precision: ClassVar[str | None] = None
    """The one precision of weights that it counts; None for any."""

    @abstractmethod
    def model_bytes(self, demand: Demand, backbone: str, cut: str, stage: int) -> int:
        """All that is not exemplars, after task `stage`."""

    @abstractmethod
    def exemplars_bytes(self, demand: Demand, classes: int, count: int) -> int:
        """`count` exemplars of mean size, of `classes` classes."""

    @abstractmethod
    def fitting_exemplars(self, demand: Demand, classes: int, spare_bytes: int) -> int:
        """How many exemplars of `classes` classes fit `spare_bytes`."""

    @abstractmethod
    def chosen(self, offer: Offer, bare: State, budget_bytes: int, horizon: int) -> ExemplarSet:
        """The exemplars to keep after a task.

        Args:
            offer: what there is.
            bare: the state after the task, without exemplars.
            budget_bytes: the budget.
            horizon: tasks that the budget must hold, those of the future included.

        Raises:
            BudgetError: not even an empty set fits.
        """

    def plan(self, demand: Demand, backbone: str, cut: str, budget_bytes: int) -> Plan:
        """What a backbone comes to, with as many exemplars at every stage as fit."""
        last = len(demand.task_sizes)
        models = [self.model_bytes(demand, backbone, cut, k) for k in range(1, last + 1)]
        stages, smallest = [], 0
        for stage, model_bytes in enumerate(models, 1):
            classes = sum(demand.task_sizes[:stage])
            spare_bytes = budget_bytes - (model_bytes if self.bounds_files else models[-1])
            exemplars = self.fitting_exemplars(demand, classes, spare_bytes)
            total_bytes = model_bytes + self.exemplars_bytes(demand, classes, exemplars)
            blocks = demand.blocks_after(stage)
            stages.append(StagePlan(stage, classes, model_bytes, exemplars, total_bytes, blocks))
            least = classes if demand.method.keeps_exemplars else 0
            smallest = max(smallest, model_bytes + self.exemplars_bytes(demand, classes, least))
        return Plan(backbone, cut, budget_bytes, tuple(stages), smallest)


class Strict(Accounting):
    """Every file of the state, after every task, with the budget filled at each."""

    bounds_files = True

    def model_bytes(self, demand: Demand, backbone: str, cut: str, stage: int) -> int:
        """Bytes of every file but the exemplars', names and headers included."""
        classes, blocks = sum(demand.task_sizes[:stage]), demand.blocks_after(stage)
        features = blocks * _feature_size(backbone, cut)
        trunk_bytes, block_bytes = encoded_sizes(backbone, cut, demand.precision)
        head_bytes = _head_bytes(features, classes, demand.precision)
        if demand.method.keeps_statistics:
            head_bytes += encoded_size(classes, features, demand.precision)
        row = pretrained_named(backbone)
        # Of these names only the lengths matter: so one index is made for many plans.
        names = (backbone, cut, demand.precision, demand.codec)
        nameless = StateSettings(
            method=demand.method.name,
            backbone="",
            cut="",
            precision="",
            codec="",
            preprocessing=Preprocessing(
                demand.image_size_px,
                shorter_side_px=demand.shorter_side_px,
                reading=demand.reading,
            ),
            mean=row.mean if row else (0.1234, 0.1234, 0.1234),
            std=row.std if row else (0.1234, 0.1234, 0.1234),
            block_count=blocks,
            classes=_names(demand.class_names, classes),
            task_sizes=demand.task_sizes[:stage],
            origin=demand.origin or (row.source.origin if row else None),
            block_tasks=_any_groups(stage, blocks) if demand.is_merged(stage) else None,
        )
        index_bytes = _index_bytes(nameless, demand.method.keeps_statistics) + sum(map(len, names))
        return trunk_bytes + blocks * block_bytes + head_bytes + index_bytes

    def exemplars_bytes(self, demand: Demand, classes: int, count: int) -> int:
        """Size of the exemplars' file."""
        length = math.ceil(demand.exemplar_bytes)
        return _uniform_size(classes, count, length, demand.codec, demand.image_size_px)

    def fitting_exemplars(self, demand: Demand, classes: int, spare_bytes: int) -> int:
        """As many as fit a file of that size, and no more than there are pictures.

        The file grows by nearly the same for each, so two or three guesses find them.
        """
        size = partial(self.exemplars_bytes, demand, classes)
        low, high = 0, sum(demand.class_pictures[:classes]) * demand.method.keeps_exemplars
        if size(high) <= spare_bytes:
            return high
        while high - low > 1:
            each = (size(high) - size(low)) / (high - low)
            guess = low + int((spare_bytes - size(low)) / each)
            guess = min(max(guess, low + 1), high - 1)
            low, high = (guess, high) if size(guess) <= spare_bytes else (low, guess)
        return low

    def chosen(self, offer: Offer, bare: State, budget_bytes: int, horizon: int) -> ExemplarSet:
        """As many as fill what the other files leave."""
        return offer.filling(budget_bytes - bare.size_without_exemplars_bytes)


class Published(Accounting):
    """The papers' rule: fp32 parameters and raw pixels, bound after the last task only."""

    bounds_files = False
    codec = "raw"
    precision = "fp32"

    def model_bytes(self, demand: Demand, backbone: str, cut: str, stage: int) -> int:
        """The network's parameters."""
        return published_model_bytes(demand.method, backbone, cut, stage)

    def exemplars_bytes(self, demand: Demand, classes: int, count: int) -> int:
        """Their pixels."""
        return count * _raw_bytes(demand.image_size_px)

    def fitting_exemplars(self, demand: Demand, classes: int, spare_bytes: int) -> int:
        """The same number at every task."""
        return published_memory(demand.method, spare_bytes, demand.image_size_px)

    def chosen(self, offer: Offer, bare: State, budget_bytes: int, horizon: int) -> ExemplarSet:
        """As many of every class as its equal part of the memory holds."""
        learned, method = bare.settings, method_named(bare.settings.method)
        last_bytes = published_model_bytes(method, learned.backbone, learned.cut, horizon)
        memory = published_memory(method, budget_bytes - last_bytes, learned.image_size_px)
        return offer.by_quota(published_quota(memory, offer.class_count))


ACCOUNTINGS: dict[str, Accounting] = {"strict": Strict(), "published": Published()}
"""All accountings by name: what `--accounting` takes."""


@lru_cache(_REMEMBERED)
def _names(known: tuple[str, ...], count: int) -> tuple[str, ...]:
    """So many names: those that are known, then what stands for others; only the bytes matter."""
    longest = max(USUAL_NAME, *known, key=lambda name: len(name.encode()))
    return (*known, *[longest] * (count - len(known)))[:count]


@lru_cache(_REMEMBERED)
def _any_groups(tasks: int, blocks: int) -> tuple[tuple[int, ...], ...]:
    """Tasks that stand in so many groups; which they are does not matter to the bytes."""
    return (tuple(range(tasks - blocks + 1)), *((k,) for k in range(tasks - blocks + 1, tasks)))


@lru_cache(_REMEMBERED)
def _index_bytes(settings: StateSettings, keeps_statistics: bool) -> int:
    """state.json of a state with these settings."""
    parts = ["trunk.safetensors", "head.safetensors"]
    parts += [f"block-{k:02d}.safetensors" for k in range(settings.block_count)]
    if keeps_statistics:
        parts.append(STATISTICS_FILE)
    none = ExemplarSet.empty(codec_named("raw"), settings.image_size_px)
    return State(settings, dict.fromkeys(parts, b""), none).size_without_exemplars_bytes


@lru_cache(_REMEMBERED)
def _head_bytes(features: int, classes: int, precision: str) -> int:
    with torch.device("meta"):
        return weights.encoded_size(nn.Linear(features, classes), precision)


@lru_cache(_REMEMBERED)
def _uniform_size(
    classes: int, images: int, image_bytes: int, codec: str, image_size_px: int
) -> int:
    return uniform_size(classes, images, image_bytes, codec_named(codec), image_size_px)


@lru_cache
def _feature_size(backbone: str, cut: str) -> int:
    return cut_backbone(backbone, cut).feature_size


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


def published_model_bytes(method: Method, backbone: str, cut: str, stage: int) -> int:
    """The network after task `stage` as the papers count it."""
    trunk, block = parameter_counts(backbone, cut)
    return PUBLISHED_BYTES_PER_PARAMETER * (trunk + method.blocks_after(stage) * block)


def published_memory(method: Method, spare_bytes: int, image_size_px: int) -> int:
    """Exemplars that the papers' rule grants at every task, of what is left after the last one."""
    return max(0, spare_bytes // _raw_bytes(image_size_px)) if method.keeps_exemplars else 0


def published_quota(memory: int, class_count: int) -> int:
    """Exemplars of each class where `memory` images are shared out evenly, the rest unused.

    Source: PyCIL, `models/base.py`.
    """
    return memory // class_count


def _raw_bytes(image_size_px: int) -> int:
    return image_size_px**2 * 3
