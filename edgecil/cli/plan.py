"""`edgecil plan`: what fits a budget, before anything is trained."""

import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from edgecil.budget import format_bytes
from edgecil.cli import options
from edgecil.cli.latency import Bench, Latency, require_possible, within
from edgecil.cli.verbs import Fields
from edgecil.errors import BudgetError, UsageError
from edgecil.training.request import TrainRequest
from edgecil_devices.options import words_of

if TYPE_CHECKING:
    from edgecil.planning.data_facts import DataFacts
    from edgecil.planning.plans import Plan
    from edgecil.training.settings import RunSettings


Asked = Annotated[
    dict[str, Any],
    Fields(
        TrainRequest,
        without=("trunk", "learning_rate", "batch_size"),
        optional={"budget": "all budget points of the protocol"},
    ),
]


def plan(
    asked: Asked,
    latency: Latency = None,
    bench: Bench = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a budget holds after every task, and the backbones that fit it.

    Without --data and --protocol it is CIFAR-100 in ten tasks.
    """
    from edgecil.training.label_changes import warn_of_label_changes

    budget, protocol = asked["budget"], asked["protocol"]
    if asked["data"] is None and not protocol:
        asked["data"] = "cifar100"
    asked["budget"] = budget or _points_of(protocol)[0]
    request = TrainRequest(**asked)
    require_possible(request, latency, bench)
    request, facts, why = _facts(request, bounded=latency is not None)
    if latency:
        request = within(request, facts, latency, bench)
    if budget is None:
        points = [replace(request, budget=size) for size in _points_of(protocol)]
        _tell_points(points, facts, as_json)
    else:
        planning = _planned(request, facts, why)
        warn_of_label_changes(planning.settings)
        request = replace(request, backbone=planning.plan.backbone)
        if as_json:
            print(json.dumps(planning.to_dict(), allow_nan=False))
        else:
            _print_table(planning)
    if not as_json:
        print(f"next: {_training_command(request)}")


@dataclass(frozen=True)
class _Planning:
    """What a request comes to under its budget."""

    settings: "RunSettings"
    plan: "Plan"
    reason: str
    others: "list[Plan]"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        fitting = [other.backbone for other in self.others if other.fits]
        found = {"reason": self.reason, "alternatives": fitting}
        return _about(self.settings) | asdict(self.plan) | found


def _about(settings: "RunSettings") -> dict[str, Any]:
    return {
        "protocol": settings.protocol,
        "method": settings.method,
        "accounting": settings.accounting,
        "codec": settings.codec,
        "state_precision": settings.precision,
        "images_a_task": settings.images_a_task,
    }


def _planned(request: TrainRequest, facts: "DataFacts", why: str = "") -> _Planning:
    from edgecil.networks import CUTS
    from edgecil.planning.planner import alternatives
    from edgecil.training.loop import choose_device
    from edgecil.training.rehearsal import pace_on
    from edgecil.training.resolving import demand_of, resolve

    pace = partial(pace_on, choose_device("auto")) if request.time else None
    settings, planned, reason = resolve(request, facts, pace=pace)
    demand = demand_of(settings, facts)
    # What starts from scratch is cut elsewhere than what comes pretrained.
    cut = settings.cut if settings.cut in CUTS else demand.method.cuts[0]
    others = alternatives(replace(demand, origin=None), cut, settings.budget_bytes)
    return _Planning(settings, planned, "\n".join(filter(None, (why, reason))), others)


def _points_of(protocol: str | None) -> tuple[int, ...]:
    from edgecil.planning.protocols import protocol_named

    if protocol is None:
        raise UsageError("no budget is given; give --budget, or --protocol for its budget points")
    return protocol_named(protocol).budgets_bytes


def _facts(
    request: TrainRequest, *, bounded: bool = False
) -> "tuple[TrainRequest, DataFacts, str]":
    """What must be known of the data, the request as it suits them, and why; nothing is fetched.

    Args:
        request: what is asked for.
        bounded: as of `proposed`.
    """
    from edgecil.data import DATASETS, is_here
    from edgecil.planning.data_facts import facts_without_data, imagenet_facts
    from edgecil.training.proposing import proposed
    from edgecil.training.resolving import load_requested

    protocol, codecs = request.followed, request.possible_codecs
    if protocol and request.chosen_data is None:
        facts = imagenet_facts(protocol, codecs)
        print(
            f"ImageNet is not at hand: {facts.images_per_class} pictures a class are assumed, and "
            "exemplars of as many bytes a pixel as CIFAR-100's",
            file=sys.stderr,
        )
        return request, facts, ""
    built_in = DATASETS.get(request.chosen_data or "")
    if built_in and built_in.known and not is_here(built_in.name, request.data_dir):
        print(f"{built_in.name} is not at hand: exemplars count their usual size", file=sys.stderr)
        return request, facts_without_data(built_in.known, codecs), ""
    found = proposed(request, load_requested(request), bounded=bounded)
    return found.request, found.facts, found.reason


def _print_table(planning: _Planning) -> None:
    planned = planning.plan
    if planning.reason:
        print(planning.reason)
    settings = planning.settings
    print(
        f"{planned.backbone}, cut at {planned.cut}, weights in {settings.precision}, "
        f"{settings.exemplars_in_words}, {format_bytes(planned.budget_bytes)}"
    )
    head = f"{'task':>4} {'classes':>7} {'blocks':>7} {'model':>10} {'exemplars':>9}"
    print(f"{head} {'total':>10} {'spare':>8}")
    before = 0
    for stage in planned.stages:
        spare = planned.budget_bytes - stage.total_bytes
        # A method with one block at all times has none to merge.
        merged = settings.max_blocks is not None and stage.blocks <= before
        blocks, before = f"{stage.blocks}{'*' if merged else ' '}", stage.blocks
        print(
            f"{stage.stage:>4} {stage.classes:>7} {blocks:>7} {stage.model_bytes:>10} "
            f"{stage.exemplars:>9} {stage.total_bytes:>10} {spare:>8}"
        )
    if settings.max_blocks is not None:
        print("* older blocks are merged before this task adds its own")
    print("backbones, with what they leave after the last task:")
    for other in planning.others:
        last = other.stages[-1]
        told = (
            f"model {format_bytes(last.model_bytes)}, {last.exemplars} exemplars"
            if other.fits
            else f"does not fit, needs {format_bytes(other.smallest_budget_bytes)}"
        )
        print(f"  {other.backbone:<19} {told}")


def _tell_points(requests: list[TrainRequest], facts: "DataFacts", as_json: bool) -> None:
    """One line, or one plan, for every budget point of the protocol; none stops the others."""
    plans: list[dict[str, Any]] = []
    for request in requests:
        try:
            plans.append(_planned(request, facts).to_dict())
        except BudgetError as error:
            unfit: dict[str, Any] = {"backbone": None, "stages": [], "reason": str(error)}
            plans.append({"budget_bytes": request.budget_bytes} | unfit)
    if as_json:
        print(
            json.dumps(
                {"protocol": request.protocol, "method": request.chosen_method, "points": plans},
                allow_nan=False,
            )
        )
        return
    print(f"{'budget':>10} {'MiB':>8}  {'backbone':<19} {'model':>10} {'exemplars':>9} at the end")
    for found in plans:
        size = found["budget_bytes"]
        if last := found["stages"][-1] if found["stages"] else None:
            held = f"{found['backbone']:<19} {last['model_bytes']:>10} {last['exemplars']:>9}"
        else:
            held = found["reason"]
        print(f"{size:>10} {size / 2**20:>8.2f}  {held}")


def _training_command(request: TrainRequest) -> str:
    """What trains just this, with a folder for the person to fill in where none was named."""
    if request.data is None and request.chosen_data is None:
        request = replace(request, data="FOLDER")
    if str(request.data_dir) == os.environ.get("EDGECIL_DATA"):  # it is there for training, too
        request = replace(request, data_dir=None)
    return shlex.join(["edgecil", "train", *words_of(request)])
