"""`edgecil plan`: what fits a budget, before anything is trained."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from edgecil.budget import BYTES_PER_MIB, format_bytes
from edgecil.cli import options
from edgecil.cli.latency import Bench, Latency, TooSlowError, most_blocks, require_possible
from edgecil.cli.verbs import Fields
from edgecil.errors import BudgetError, UsageError
from edgecil.training.request import TrainRequest
from edgecil_devices.options import words_of

if TYPE_CHECKING:
    from edgecil.planning.data_facts import DataFacts
    from edgecil.planning.plans import Demand, Plan
    from edgecil.training.resolving import Pace
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
    from edgecil.training.resolving import once

    budget, protocol = asked["budget"], asked["protocol"]
    if asked["data"] is None and not protocol:
        asked["data"] = "cifar100"
    asked["budget"] = budget or _points_of(protocol)[0]
    request = TrainRequest(**asked)
    require_possible(request, latency, bench)
    request, facts, why = _facts(request, bounded=latency is not None)
    most_of = once(partial(most_blocks, latency, bench=bench)) if latency else None
    planner = _Planner(facts, most_of, _pace(request))
    if budget is None:
        points = [replace(request, budget=size) for size in _points_of(protocol)]
        request = _tell_points(points, planner, as_json)
    else:
        planning = planner.of(request, why)
        warn_of_label_changes(planning.settings)
        request = planning.request
        if as_json:
            print(json.dumps(planning.to_dict(), allow_nan=False))
        else:
            _print_table(planning)
    if not as_json:
        print(f"next: {_training_command(request)}")


@dataclass(frozen=True)
class _Planning:
    """What a request comes to under its budget."""

    request: TrainRequest
    """What trains just this."""
    settings: "RunSettings"
    demand: "Demand"
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


@dataclass(frozen=True)
class _Planner:
    """What a plan goes by, whatever the budget."""

    facts: "DataFacts"
    """Of the pictures."""
    most_of: "Callable[[RunSettings], int] | None"
    """As of `within`; None for any latency."""
    pace: "Pace | None"
    """As of `resolve`."""

    def of(self, request: TrainRequest, why: str = "") -> _Planning:
        """What a request comes to; `why` precedes the planner's own reason.

        Raises:
            EdgecilError: as of `resolve` and `within`.
        """
        from edgecil.networks import CUTS
        from edgecil.planning.planner import alternatives
        from edgecil.training.resolving import demand_of, resolve, within

        if self.most_of:
            request = within(request, self.facts, self.most_of, self.pace)
        settings, planned, reason = resolve(request, self.facts, pace=self.pace)
        # With the backbone alone the planner might merge otherwise than among all.
        request = replace(request, backbone=planned.backbone, max_blocks=settings.max_blocks)
        demand = demand_of(settings, self.facts)
        # What starts from scratch is cut elsewhere than what comes pretrained.
        cut = settings.cut if settings.cut in CUTS else demand.method.cuts[0]
        others = alternatives(replace(demand, origin=None), cut, settings.budget_bytes)
        reason = "\n".join(filter(None, (why, reason)))
        return _Planning(request, settings, demand, planned, reason, others)


def _pace(request: TrainRequest) -> "Pace | None":
    """How fast this machine trains a network; None where no time is given."""
    from edgecil.training.loop import choose_device
    from edgecil.training.rehearsal import pace_on
    from edgecil.training.resolving import once

    return once(partial(pace_on, choose_device("auto"))) if request.time else None


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
            f"ImageNet is not at hand: {facts.pictures_per_class} pictures a class are assumed, "
            "and exemplars of as many bytes a pixel as CIFAR-100's",
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
    for stage in planned.stages:
        spare = planned.budget_bytes - stage.total_bytes
        blocks = f"{stage.blocks}{'*' if planning.demand.merges(stage.stage) else ' '}"
        print(
            f"{stage.stage:>4} {stage.classes:>7} {blocks:>7} {stage.model_bytes:>10} "
            f"{stage.exemplars:>9} {stage.total_bytes:>10} {spare:>8}"
        )
    if planning.demand.is_merged(len(planned.stages)):
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


def _tell_points(points: list[TrainRequest], planner: _Planner, as_json: bool) -> TrainRequest:
    """One line, or one plan, for every budget point of the protocol; none stops the others.

    Returns:
        What trains the first point that can be met; the first of all where none can.
    """
    from edgecil.planning.schedules import TooShortError

    plans, met = list[dict[str, Any]](), list[TrainRequest]()
    for request in points:
        try:
            planning = planner.of(request)
        except (BudgetError, TooShortError, TooSlowError) as error:
            unfit: dict[str, Any] = {"backbone": None, "stages": [], "reason": str(error)}
            plans.append({"budget_bytes": request.budget_bytes} | unfit)
        else:
            plans.append(planning.to_dict())
            met.append(planning.request)
    first = points[0]
    if as_json:
        about = {"protocol": first.protocol, "method": first.chosen_method, "points": plans}
        print(json.dumps(about, allow_nan=False))
    else:
        _print_points(plans)
    return met[0] if met else first


def _print_points(plans: list[dict[str, Any]]) -> None:
    print(f"{'budget':>10} {'MiB':>8}  {'backbone':<19} {'model':>10} {'exemplars':>9} at the end")
    for found in plans:
        size = found["budget_bytes"]
        if last := found["stages"][-1] if found["stages"] else None:
            held = f"{found['backbone']:<19} {last['model_bytes']:>10} {last['exemplars']:>9}"
        else:
            held = found["reason"]
        print(f"{size:>10} {size / BYTES_PER_MIB:>8.2f}  {held}")


def _training_command(request: TrainRequest) -> str:
    """What trains just this, with a folder for the person to fill in where none was named."""
    if request.data is None and request.chosen_data is None:
        request = replace(request, data="FOLDER")
    if str(request.data_dir) == os.environ.get("EDGECIL_DATA"):  # it is there for training, too
        request = replace(request, data_dir=None)
    return shlex.join(["edgecil", "train", *words_of(request)])
