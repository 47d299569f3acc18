"""Blocks are merged in a plan where they would not fit, or where exemplars are worth more."""

import time
from dataclasses import replace
from itertools import pairwise

import pytest

from edgecil.errors import BudgetError
from edgecil.methods import method_named
from edgecil.planning.accounting import encoded_sizes
from edgecil.planning.block_limits import BlockBound, choose_with_merging
from edgecil.planning.planner import plan
from edgecil.planning.plans import Demand
from edgecil.planning.schedules import EqualWork, TooShortError
from edgecil.planning.tradeoffs import Choice
from tests.edgecil.planning.lengths import epochs

DEMAND = Demand(
    method=method_named("memo"),
    task_sizes=(5,) * 20,
    image_size_px=32,
    class_pictures=(500,) * 100,
    precision="int8",
    codec="webp:50",
    exemplar_bytes=400,
)


def chosen(budget_bytes: int, demand: Demand = DEMAND) -> Choice:
    return choose_with_merging([demand], "resnet14", ["last"], budget_bytes, epochs(20, 10))


def test_twenty_blocks_stay_where_bytes_are_ample() -> None:
    found = chosen(90_000_000)
    assert found.demand.max_blocks is None
    assert found.plan.stages[-1].blocks == 20
    assert "merged" not in found.reason


def test_less_than_a_point_is_no_reason_to_merge() -> None:
    # The main run of the README: fewer blocks would leave a few exemplars more.
    assert chosen(7_600_000, replace(DEMAND, task_sizes=(10,) * 10)).demand.max_blocks is None


def test_a_time_that_is_too_short_for_merging_is_enough_without() -> None:
    # Nine tenths are 135 s. An epoch of each task, of 2500, 5000, 7500 and 8833 pictures and 3 to
    # 4.5 passes, takes 94.75 s and measuring 27.5; another one to merge before the last, 31 more.
    work = EqualWork(150.0, {"resnet14": 0.001}.__getitem__, tests_per_class=100, tasks=50)
    demand = replace(DEMAND, task_sizes=(5,) * 4)
    found = choose_with_merging([demand], "resnet14", ["last"], 3_000_000, work)
    assert found.demand.max_blocks is None
    assert work.images_a_task(found.demand, found.plan) >= 1
    with pytest.raises(TooShortError):
        work.images_a_task(replace(demand, max_blocks=3), found.plan)


def within_seconds(seconds: float) -> EqualWork:
    return EqualWork(seconds, {"resnet14": 0.001}.__getitem__, tests_per_class=100, tasks=50)


def test_blocks_are_merged_where_the_time_is_too_short_for_passing_all_of_them() -> None:
    # In the last task a picture passes 3 + 19 / 2 backbones with all blocks, 3 + 2 / 2 with three.
    asked = ([DEMAND], "resnet14", ["last"], 9_000_000, within_seconds(4000))
    found = choose_with_merging(*asked)
    assert found.demand.max_blocks in (2, 3)
    assert "all 20 do not suit the time: 1 h 10 min are too short for resnet14" in found.reason


def least_seconds(demand: Demand, most: int, budget_bytes: int) -> float:
    """Of an epoch a task of 2500 new pictures, and one to merge, at a millisecond a pass."""
    found, kept = 0.0, 0
    planned = plan(replace(demand, max_blocks=most), "resnet14", "last", budget_bytes)
    for stage in planned.stages:
        passes = 3 + (min(stage.stage, most) - 1) / 2
        shown = (2500 + kept) * (2 if stage.stage > most else 1)
        looked_at = 500 * stage.stage + 2500  # to measure, and to choose exemplars
        found += 0.001 * (shown * passes + looked_at * max(1, passes - 2))
        kept = stage.exemplars
    return found / 0.9


@pytest.mark.parametrize("tasks", [4, 20])
def test_a_time_that_is_too_short_is_told_with_the_least_that_would_do(tasks: int) -> None:
    """With four blocks merging takes longer than it saves, with twenty it does not."""
    demand = replace(DEMAND, task_sizes=(5,) * tasks)
    asked = ([demand], "resnet14", ["last"], 3_000_000)
    least = {most: least_seconds(demand, most, asked[-1]) for most in range(2, tasks + 1)}
    best = min(least, key=least.__getitem__)
    assert best == (4 if tasks == 4 else 2)
    with pytest.raises(TooShortError) as told:
        choose_with_merging(*asked, within_seconds(1))
    assert told.value.least_seconds == pytest.approx(least[best])
    found = choose_with_merging(*asked, within_seconds(told.value.least_seconds + 0.01))
    assert (found.demand.max_blocks or tasks) == best


def test_a_time_that_is_too_short_for_fifty_tasks_is_refused_within_seconds() -> None:
    """Of 15 bounds on the blocks, with each backbone; the processor's time counts."""
    many = replace(DEMAND, task_sizes=(1,) * 50)

    def seconds(more_bytes: int) -> float:
        demands = [
            replace(many, codec=codec, exemplar_bytes=size + more_bytes, precision=precision)
            for codec, size in (("webp:30", 300), ("webp:50", 400), ("webp:90", 900))
            for precision in ("fp16", "int8")
        ]
        work = EqualWork(1.0, lambda backbone: 0.001, tests_per_class=100, tasks=50)
        began = time.process_time()
        with pytest.raises(TooShortError, match="1 s are too short for"):
            choose_with_merging(demands, None, ["last"], 20_000_000, work)
        return time.process_time() - began

    assert any(seconds(more_bytes) < 10 for more_bytes in range(3))  # nothing is remembered


def test_blocks_that_would_push_exemplars_out_are_merged() -> None:
    found = chosen(3_000_000)
    bound = found.demand.max_blocks
    assert bound is not None
    assert 2 <= bound < 20
    assert [stage.blocks for stage in found.plan.stages] == [min(k, bound) for k in range(1, 21)]
    assert f"{bound} at most" in found.reason
    assert "points more than with all 20 blocks" in found.reason


def test_what_does_not_fit_with_all_blocks_is_merged_and_says_so() -> None:
    _, block_bytes = encoded_sizes("resnet14", "last", "int8")
    budget_bytes = 10 * block_bytes  # twenty alone are more
    found = chosen(budget_bytes)
    assert found.plan.fits
    assert "all 20 do not fit" in found.reason
    with pytest.raises(BudgetError, match="cannot hold 20 tasks"):
        BlockBound(no_merge=True).chooser(
            [DEMAND], "resnet14", ["last"], budget_bytes, epochs(20, 10)
        )


def test_what_does_not_fit_however_much_is_merged_is_refused() -> None:
    with pytest.raises(BudgetError, match="smallest budget that fits"):
        chosen(100_000)


@pytest.mark.parametrize("method", ["thrift", "foster", "replay"])
def test_one_network_at_all_times_has_nothing_to_merge(method: str) -> None:
    demand = replace(DEMAND, method=method_named(method))
    assert chosen(3_000_000, demand).demand.max_blocks is None


def test_papers_count_a_block_a_task() -> None:
    published = replace(DEMAND, accounting="published", precision="fp32", codec="raw")
    assert chosen(20_000_000, published).demand.max_blocks is None


def test_a_bound_is_planned_as_it_is_given() -> None:
    planned = plan(replace(DEMAND, max_blocks=3), "resnet14", "last", 3_000_000)
    assert [stage.blocks for stage in planned.stages] == [1, 2, 3] + [3] * 17
    steps = [late.model_bytes - early.model_bytes for early, late in pairwise(planned.stages[3:])]
    # From then on a task costs five rows of the head and five names.
    assert max(steps) < 5_000
