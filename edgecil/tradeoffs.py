"""What the planner proposes where a person leaves it the choice: the best use of every byte.

A bigger network, more exemplars, or exemplars in better quality: `tradeoffs.toml` says in points of
accuracy what each was measured to bring. The points of a plan add up to an estimate that ranks
plans; it is no promise of an accuracy, which depends on the pictures and on the training.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import mean

import numpy as np

from edgecil.budget import format_bytes
from edgecil.planner import (
    Demand,
    Plan,
    alternatives,
    encoded_sizes,
    parameter_counts,
    plan,
    too_small,
)


@dataclass(frozen=True)
class Tradeoffs:
    """The measured table."""

    network: tuple[tuple[float, float], ...]
    """Parameters of a backbone, and the accuracy with all pictures, in percent."""
    kept: tuple[tuple[float, float], ...]
    """Part of the pictures that is kept, and the points that this costs after the next task."""
    codec: dict[str, float]
    """The points that a codec costs."""
    precision: dict[str, float]
    """The points that a precision of weights costs."""

    def of_network(self, parameters: int) -> float:
        """Accuracy in percent with all pictures; linear in the logarithm, beyond the ends too."""
        sizes = np.log([size for size, _ in self.network])
        points = np.array([accuracy for _, accuracy in self.network])
        at = math.log(parameters)
        right = int(np.clip(np.searchsorted(sizes, at), 1, len(sizes) - 1))
        slope = (points[right] - points[right - 1]) / (sizes[right] - sizes[right - 1])
        return float(points[right] + slope * (at - sizes[right]))

    def of_keeping(self, part: float) -> float:
        """Points lost where `part` of the pictures is kept, 0 to 1."""
        parts, lost = zip(*self.kept, strict=True)
        return float(np.interp(part, parts, lost))


@cache
def tradeoffs() -> Tradeoffs:
    """The table of this edgecil."""
    data = tomllib.loads((files("edgecil") / "tradeoffs.toml").read_text())
    return Tradeoffs(
        network=tuple((row["parameters"], row["accuracy"]) for row in data["network"]),
        kept=tuple(zip(data["kept"]["part"], data["kept"]["lost"], strict=True)),
        codec=data["codec"],
        precision=data["precision"],
    )


def estimate(demand: Demand, planned: Plan) -> float:
    """Points by which plans are ranked: average accuracy over the stages, as far as measured."""
    table = tradeoffs()
    lost = []  # after the last task, too: another may come that nobody has planned
    for stage in planned.stages:
        part = stage.exemplars / stage.classes / demand.images_per_class
        lost.append(table.of_keeping(min(1.0, part)) if demand.method.keeps_exemplars else 0.0)
    of_network = table.of_network(sum(parameter_counts(planned.backbone, planned.cut)))
    of_codec = table.codec.get(demand.codec, 0.0) if demand.method.keeps_exemplars else 0.0
    return of_network - mean(lost) - of_codec - table.precision[demand.precision]


@dataclass(frozen=True)
class Choice:
    """What the planner proposes."""

    demand: Demand
    """With the codec and the precision it takes."""
    plan: Plan
    """What the backbone comes to."""
    reason: str
    """Why, in a sentence."""


def choose(demands: Sequence[Demand], backbone: str | None, cut: str, budget_bytes: int) -> Choice:
    """The plan with the best estimate.

    Args:
        demands: the same but for codec and precision, which may be chosen among these.
        backbone: the one that was asked for; None to choose one, too.
        cut: where it is cut.
        budget_bytes: what all has to fit in.

    Raises:
        BudgetError: none fits; the message names the smallest budget that holds one.
    """
    plans = [
        (demand, planned)
        for demand in demands
        for planned in (
            [plan(demand, backbone, cut, budget_bytes)]
            if backbone
            else alternatives(demand, cut, budget_bytes)
        )
    ]
    fitting = [(demand, planned) for demand, planned in plans if planned.fits]
    if not fitting:
        raise too_small(min((p for _, p in plans), key=lambda p: p.smallest_budget_bytes))
    ranked = sorted(fitting, key=lambda found: -estimate(*found))
    demand, planned = ranked[0]
    if len(plans) == 1:
        return Choice(demand, planned, "")
    return Choice(demand, planned, _reason(ranked))


def _reason(ranked: Sequence[tuple[Demand, Plan]]) -> str:
    """What the best plan keeps, what it is better than, and what a block would cost instead."""
    demand, planned = ranked[0]
    told = f"{planned.backbone} with weights in {demand.precision}"
    if demand.method.keeps_exemplars:
        told += (
            f" and {planned.exemplars_per_class:.0f} exemplars a class in {demand.codec} after "
            f"{len(planned.stages)} tasks"
        )
    told += " makes the most of the bytes, by measured trade-offs"
    for other_demand, other in ranked:
        if other.backbone != planned.backbone:
            points = estimate(demand, planned) - estimate(other_demand, other)
            told += (
                f": {points:.1f} points more than {other.backbone} with "
                f"{other.exemplars_per_class:.0f} in {other_demand.codec}"
            )
            break
    if demand.method.keeps_exemplars and demand.accounting == "strict":
        block_bytes = encoded_sizes(planned.backbone, planned.cut, demand.precision)[1]
        told += (
            f"; a block costs {format_bytes(block_bytes)}, "
            f"or {block_bytes / demand.exemplar_bytes:.0f} exemplars"
        )
    return told
