"""How many blocks a network may have under a budget, where a method adds one a task.

A block too many is not refused: two older ones are merged instead. The planner proposes that where
the blocks would not fit, or where what they take is worth more as exemplars than merging costs
(`merging` in tradeoffs.toml).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from edgecil.errors import BudgetError, UsageError
from edgecil.methods import method_named
from edgecil.planning.accounting import ACCOUNTINGS, Accounting
from edgecil.planning.planner import plan
from edgecil.planning.plans import Demand
from edgecil.planning.schedules import Schedule, TooShortError
from edgecil.planning.tradeoffs import Choice, choose, estimate

Chooser = Callable[[Sequence[Demand], str | None, Sequence[str], int, Schedule], Choice]
"""`choose`, or what goes further."""

FEWEST_BLOCKS = 2
"""An old block and the new one. What is one network at all times is `foster` or `thrift`."""

LEAST_GAIN = 1.0
"""Points that merging must bring by the estimate, where all blocks would fit. Below that it is not
worth the training: two runs that differ in nothing but their first weights are further apart."""

_LIMITS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96)


@dataclass(frozen=True)
class BlockBound:
    """What a person says of how many blocks there may be."""

    max_blocks: int | None = None
    """So many, once there are that many tasks; None leaves it to the planner."""
    ceiling: int | None = None
    """The planner takes no more than this."""
    no_merge: bool = False
    """Refuse what does not hold all."""

    def over(self, before: int | None) -> int | None:
        """What is left of a bound that was there before."""
        if self.max_blocks is not None:
            return self.max_blocks
        return min((most for most in (before, self.ceiling) if most), default=None)

    @property
    def chooser(self) -> Chooser:
        """What makes a plan under this bound."""
        return choose if self.max_blocks or self.no_merge else choose_with_merging


NO_BOUND = BlockBound()
"""All is left to the planner."""


def refuse_impossible_bound(
    max_blocks: int | None,
    no_merge: bool,
    method: str,
    counting: Accounting,
    latency: str | None = None,
) -> None:
    """Refuse a bound on blocks that the method or the accounting has no use for.

    Args:
        max_blocks: the bound; None without one.
        no_merge: whether no blocks may be merged.
        method: the method's name.
        counting: how the budget is counted.
        latency: a bound by milliseconds in its place.

    Raises:
        UsageError: it cannot be kept, or means nothing.
    """
    if max_blocks is None and latency is None:
        return
    option = "--max-blocks" if latency is None else "--latency"
    if no_merge:
        raise UsageError(f"{option} is kept by merging; leave out --no-merge")
    if method_named(method).blocks_after(2) == 1:
        raise UsageError(f"{method} has one block at all times; leave out {option}")
    if not counting.bounds_files:
        raise UsageError(f"published accounting counts a block a task; leave out {option}")
    if max_blocks is not None and max_blocks < FEWEST_BLOCKS:
        raise UsageError(
            f"--max-blocks {max_blocks} leaves no room for an old one beside the new one; "
            f"give {FEWEST_BLOCKS} or more, or --method foster for a single network"
        )


def choose_with_merging(
    demands: Sequence[Demand],
    backbone: str | None,
    cuts: Sequence[str],
    budget_bytes: int,
    schedule: Schedule,
) -> Choice:
    """As `choose`, with blocks merged where that is worth it, or where nothing else can be.

    Args:
        demands: as of `choose`; a bound on blocks that they have stays the highest.
        backbone: as of `choose`.
        cuts: as of `choose`.
        budget_bytes: as of `choose`.
        schedule: as of `choose`.

    Raises:
        BudgetError: nothing fits, however much is merged.
        TooShortError: the schedule has time for nothing, however much is merged.
    """
    limits = _limits(demands[0])
    try:
        best = choose(demands, backbone, cuts, budget_bytes, schedule)
        whole = _estimate_with(best, best.demand.max_blocks, schedule)
    except (BudgetError, TooShortError) as refused:
        if not limits:
            raise
        bounded = [replace(one, max_blocks=most) for one in demands for most in limits]
        found = _instead_of(
            refused, partial(choose, bounded, backbone, cuts, budget_bytes, schedule)
        )
        lack = "fit" if isinstance(refused, BudgetError) else "suit the time"
        told = f"all {_blocks(demands[0])} do not {lack}: {refused}"
        return replace(found, reason=_joined(found, told))
    points: dict[int, float] = {}
    for most in limits:
        with suppress(TooShortError):  # merging takes time, too
            points[most] = _estimate_with(best, most, schedule)
    if not points or max(points.values()) < whole + LEAST_GAIN:
        return best
    most = max(points, key=points.__getitem__)
    # With the bytes of so many blocks to spend again, another codec or backbone may be better.
    bounded = [replace(one, max_blocks=most) for one in demands]
    found = choose(bounded, backbone, cuts, budget_bytes, schedule)
    told = (
        f"{estimate(found.demand, found.plan, schedule) - whole:.1f} points more than with all "
        f"{_blocks(best.demand)} blocks and {best.plan.exemplars_per_class:.0f} exemplars a class"
    )
    return replace(found, reason=_joined(found, told))


def _instead_of(refused: BudgetError | TooShortError, merging: Callable[[], Choice]) -> Choice:
    """The choice with blocks merged, where it is refused without.

    Raises:
        BudgetError, TooShortError: with them merged it is refused, too. Of two times that would do
            the shorter one is told: fewer blocks are passed sooner, but merging takes time.
    """
    try:
        return merging()
    except TooShortError as error:
        if isinstance(refused, TooShortError) and refused.least_seconds <= error.least_seconds:
            raise refused from None
        raise


def _estimate_with(choice: Choice, most: int | None, schedule: Schedule) -> float:
    """The points of a plan with another bound on its blocks."""
    demand, planned = replace(choice.demand, max_blocks=most), choice.plan
    other = plan(demand, planned.backbone, planned.cut, planned.budget_bytes)
    return estimate(demand, other, schedule)


def _blocks(demand: Demand) -> int:
    return demand.blocks_after(len(demand.task_sizes))


def _joined(found: Choice, told: str) -> str:
    """The reason for a choice in which blocks are merged."""
    merged = f"older blocks are merged so that there are {found.demand.max_blocks} at most: {told}"
    return "\n".join(filter(None, (found.reason, merged)))


def _limits(demand: Demand) -> list[int]:
    """Bounds on blocks that are tighter than what a demand comes to, the loosest first."""
    if not ACCOUNTINGS[demand.accounting].bounds_files:
        return []
    most = _blocks(demand)  # 1 where a method has one at all times
    return sorted({most - 1, *_LIMITS} & set(range(FEWEST_BLOCKS, most)), reverse=True)
