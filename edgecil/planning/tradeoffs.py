"""What the planner proposes where a person leaves it the choice: the best use of every byte.

A bigger network, more exemplars, or exemplars in better quality: `tradeoffs.toml` says in points of
accuracy what each was measured to bring, and the bigger network after how long a training. The
points of a plan add up to an estimate that ranks plans; it is no promise of an accuracy, which
depends on the pictures and on the training.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import accumulate
from statistics import mean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecil.budget import format_bytes
from edgecil.planning.accounting import ACCOUNTINGS, encoded_sizes, parameter_counts
from edgecil.planning.planner import alternatives, plan, too_small
from edgecil.planning.plans import Demand, Plan
from edgecil.planning.schedules import Schedule, TooShortError
from edgecil_devices.counting import counted

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Tradeoffs:
    """The measured table."""

    seen: tuple[float, ...]
    """After how many pictures `network` was measured, each counted as often as it was seen."""
    network: dict[str, tuple[float, ...]]
    """Accuracy of a backbone in percent with all pictures, for each of `seen`."""
    points_a_doubling: float
    """What twice the parameters gain where the backbone is not in `network`."""
    kept: tuple[tuple[float, float], ...]
    """Part of the pictures that is kept, and the points that this costs after the next task."""
    codec: dict[str, float]
    """The points that a codec costs."""
    precision: dict[str, float]
    """The points that a precision of weights costs."""
    merging: tuple[tuple[float, float], ...]
    """Blocks that are left for each that there would be, and the points that this costs."""

    def of_network(self, backbone: str, parameters: int, seen: float) -> float:
        """Accuracy in percent with all pictures, after `seen` of them were trained on.

        Linear in the logarithm of `seen`, and constant beyond the table. A backbone that is not in
        the table is only comparable to others that are not.
        """
        if backbone not in self.network:
            return self.points_a_doubling * math.log2(parameters)
        return float(np.interp(math.log(max(seen, 1)), np.log(self.seen), self.network[backbone]))

    def of_keeping(self, part: float) -> float:
        """Points lost where `part` of the pictures is kept, 0 to 1."""
        parts, lost = zip(*self.kept, strict=True)
        return float(np.interp(part, parts, lost))

    def of_merging(self, part: float) -> float:
        """Points lost where `part` of the blocks is left, 0 to 1."""
        parts, lost = zip(*self.merging, strict=True)
        return float(np.interp(part, parts, lost))


@cache
def tradeoffs() -> Tradeoffs:
    """The table of this edgecil."""
    data = tomllib.loads((files("edgecil.planning") / "tradeoffs.toml").read_text())
    return Tradeoffs(
        seen=tuple(data["network"].pop("seen")),
        points_a_doubling=data["network"].pop("points_a_doubling"),
        network={name: tuple(accuracies) for name, accuracies in data["network"].items()},
        kept=tuple(zip(data["kept"]["part"], data["kept"]["lost"], strict=True)),
        codec=data["codec"],
        precision=data["precision"],
        merging=tuple(zip(data["merging"]["part"], data["merging"]["lost"], strict=True)),
    )


def estimate(demand: Demand, planned: Plan, schedule: Schedule) -> float:
    """Points by which plans are ranked: average accuracy over the stages, as far as measured.

    Args:
        demand: what has to be held.
        planned: what a backbone comes to.
        schedule: how much each task trains.

    Raises:
        TooShortError: the schedule has no time for it.
    """
    table, parameters = tradeoffs(), sum(parameter_counts(planned.backbone, planned.cut))
    of_codec = table.codec.get(demand.codec, 0.0) if demand.method.keeps_exemplars else 0.0
    points = []
    seen = accumulate(schedule.shown(demand, planned))
    for stage, seen_by_then in zip(planned.stages, seen, strict=True):
        # After the last task, too: another may come that nobody has planned.
        part = part_kept(demand.class_pictures[: stage.classes], stage.exemplars)
        lost = table.of_keeping(part) if demand.method.keeps_exemplars else 0.0
        grown = demand.method.blocks_after(stage.stage)
        lost += table.of_merging(demand.blocks_after(stage.stage) / grown)
        points.append(table.of_network(planned.backbone, parameters, seen_by_then) - lost)
    return mean(points) - of_codec - table.precision[demand.precision]


def part_kept(class_pictures: tuple[int, ...], exemplars: int) -> float:
    """Part of a class's pictures that is kept, 0 to 1: the mean over classes.

    All may have as many exemplars, and none has more than it has pictures.
    """
    return float(np.interp(exemplars, *_kept_by_then(class_pictures)))


@lru_cache(2**10)
def _kept_by_then(class_pictures: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Exemplars of all classes when one more of them is whole, and the part kept by then."""
    counts = np.sort(np.maximum(class_pictures, 1)).astype(np.float64)
    wholly, larger = np.arange(1, len(counts) + 1), np.arange(len(counts) - 1, -1, -1)
    exemplars = np.cumsum(counts) + counts * larger
    parts = wholly + counts * ((1 / counts).sum() - np.cumsum(1 / counts))
    return np.append(0, exemplars), np.append(0, parts / len(counts))


@dataclass(frozen=True)
class Choice:
    """What the planner proposes."""

    demand: Demand
    """With the codec and the precision it takes."""
    plan: Plan
    """What the backbone comes to."""
    reason: str
    """Why, in a sentence."""


def choose(
    demands: Sequence[Demand],
    backbone: str | None,
    cuts: Sequence[str],
    budget_bytes: int,
    schedule: Schedule,
) -> Choice:
    """The plan with the best estimate.

    Args:
        demands: the same but for codec and precision, which may be chosen among these.
        backbone: the one that was asked for; None to choose one, too.
        cuts: where it may be cut.
        budget_bytes: what all has to fit in.
        schedule: how much each task trains: a larger network takes longer to gain.

    Raises:
        BudgetError: none fits; the message names the smallest budget that holds one.
        TooShortError: the schedule has time for none.
    """
    plans = [
        (demand, planned)
        for demand in demands
        for cut in cuts
        for planned in (
            [plan(demand, backbone, cut, budget_bytes)]
            if backbone
            else alternatives(demand, cut, budget_bytes)
        )
    ]
    fitting = [(demand, planned) for demand, planned in plans if planned.fits]
    if not fitting:
        raise too_small(*min(plans, key=lambda found: found[1].smallest_budget_bytes))
    if len(plans) == 1:
        return Choice(*fitting[0], "")
    estimated, refused = [], []
    for found in fitting:
        try:
            estimated.append((estimate(*found, schedule), found))
        except TooShortError as error:
            refused.append(error)
    if not estimated:
        raise min(refused, key=lambda error: error.least_seconds)
    ranked = sorted(estimated, key=lambda pair: -pair[0])
    return Choice(*ranked[0][1], _reason(ranked))


def _reason(ranked: Sequence[tuple[float, tuple[Demand, Plan]]]) -> str:
    """What the best plan keeps, what it is better than, and what a block would cost instead.

    Args:
        ranked: estimates and plans, best first.
    """
    best, (demand, planned) = ranked[0]
    cuts = {other.cut for _, (_, other) in ranked if other.backbone == planned.backbone}
    place = f" cut at {planned.cut}" if len(cuts) > 1 else ""
    told = f"{planned.backbone}{place} with weights in {demand.precision}"
    if demand.method.keeps_exemplars:
        told += (
            f" and {planned.exemplars_per_class:.0f} exemplars a class in {demand.codec} after "
            + counted(len(planned.stages), "task")
        )
    told += " makes the most of the bytes, by measured trade-offs"
    for points, (other_demand, other) in ranked:
        if other.backbone != planned.backbone:
            told += f": {best - points:.1f} points more than {other.backbone}"
            if demand.method.keeps_exemplars:
                told += f" with {other.exemplars_per_class:.0f} in {other_demand.codec}"
            break
    grows = demand.method.blocks_after(2) > 1 and demand.method.keeps_exemplars
    if grows and ACCOUNTINGS[demand.accounting].bounds_files:
        block_bytes = encoded_sizes(planned.backbone, planned.cut, demand.precision)[1]
        told += (
            f"\na block costs {format_bytes(block_bytes)}, "
            f"or {block_bytes / demand.exemplar_bytes:.0f} exemplars"
        )
    return told
