"""`edgecil plan`: what fits a budget, before anything is trained."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edgecil.budget import format_bytes
from edgecil.cli import options

if TYPE_CHECKING:
    from edgecil.planner import Plan
    from edgecil.training.facts import DataFacts
    from edgecil.training.request import TrainRequest


def plan(
    budget: options.Budget,
    data: options.Data = "cifar100",
    data_dir: options.DataDir = None,
    image_size: options.ImageSize = None,
    holdout: options.Holdout = 0.2,
    base: options.Base = None,
    increment: options.Increment = None,
    tasks: options.Tasks = None,
    tasks_ahead: options.TasksAhead = 0,
    seed: options.Seed = 1993,
    method: options.MethodName = "memo",
    backbone: options.BackboneName = None,
    cut: options.Cut = None,
    accounting: options.Accounting = "strict",
    codec: options.Codec = None,
    state_precision: options.StatePrecision = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a budget holds after every task, and the backbones that fit it."""
    from edgecil.planner import alternatives
    from edgecil.training.request import TrainRequest, demand_of, settle

    request = TrainRequest(
        data=data,
        budget=budget,
        data_dir=data_dir,
        image_size_px=image_size,
        holdout=holdout,
        base=base,
        increment=increment,
        tasks=tasks,
        tasks_ahead=tasks_ahead,
        seed=seed,
        method=method,
        backbone=backbone,
        cut=cut,
        accounting=accounting,
        codec=codec,
        precision=state_precision,
    )
    facts = _facts(request)
    settings, planned, reason = settle(request, facts)
    others = alternatives(demand_of(settings, facts), settings.cut, settings.budget_bytes)
    if as_json:
        about = {
            "method": settings.method,
            "accounting": settings.accounting,
            "codec": settings.codec,
            "state_precision": settings.precision,
        }
        fitting = [other.backbone for other in others if other.fits]
        print(json.dumps(about | asdict(planned) | {"reason": reason, "alternatives": fitting}))
        return
    _print_table(planned, reason, others)
    print(f"next: edgecil train --data {data} --budget {budget} --backbone {planned.backbone}")


def _facts(request: "TrainRequest") -> "DataFacts":
    """What must be known of the data; planning downloads nothing."""
    from edgecil.data import default_data_dir
    from edgecil.training.facts import cifar100_facts, facts_of, is_absent
    from edgecil.training.request import load_requested

    if is_absent(request.data, request.data_dir or default_data_dir()):
        print("cifar100 is not at hand: exemplars count their usual size", file=sys.stderr)
        return cifar100_facts(request.chosen_codec)
    return facts_of(load_requested(request), request.chosen_codec)


def _print_table(planned: "Plan", reason: str, others: "list[Plan]") -> None:
    if reason:
        print(reason)
    print(f"{planned.backbone}, cut at {planned.cut}, {format_bytes(planned.budget_bytes)}")
    print(f"{'task':>4} {'classes':>7} {'model':>10} {'exemplars':>9} {'total':>10} {'spare':>8}")
    for stage in planned.stages:
        spare = planned.budget_bytes - stage.total_bytes
        print(
            f"{stage.stage:>4} {stage.classes:>7} {stage.model_bytes:>10} {stage.exemplars:>9} "
            f"{stage.total_bytes:>10} {spare:>8}"
        )
    print("backbones, with what they leave after the last task:")
    for other in others:
        last = other.stages[-1]
        told = (
            f"model {last.model_bytes}, {last.exemplars} exemplars"
            if other.fits
            else f"does not fit, needs {other.smallest_budget_bytes}"
        )
        print(f"  {other.backbone:<10} {told}")
