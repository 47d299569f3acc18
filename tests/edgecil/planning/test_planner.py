"""The planner counts as the papers do when asked to, and else as the files on disk do."""

import dataclasses

import pytest

from edgecil.errors import BudgetError
from edgecil.methods import method_named
from edgecil.planning.accounting import published_quota
from edgecil.planning.planner import alternatives, plan
from edgecil.planning.plans import Demand
from edgecil.planning.schedules import Epochs
from edgecil.planning.tradeoffs import choose

PUBLISHED = Demand(
    method=method_named("memo"),
    task_sizes=(10,) * 10,
    image_size_px=32,
    images_per_class=500,
    precision="fp32",
    codec="raw",
    exemplar_bytes=3072,
    accounting="published",
)
STRICT = dataclasses.replace(PUBLISHED, accounting="strict", precision="fp16")


# CIFAR-100 B0 Inc10, the exemplars of MEMO in the paper's tables 2 to 12.
@pytest.mark.parametrize(
    ("backbone", "budget_bytes", "exemplars"),
    [
        ("convnet2", 7_998_016, 2118),
        ("resnet14", 13_018_240, 2495),
        ("resnet20", 16_906_880, 2768),
        ("resnet26", 20_795_520, 3040),
        ("resnet32", 24_684_160, 3312),
    ],
)
def test_published_accounting_gives_the_published_exemplars(
    backbone: str, budget_bytes: int, exemplars: int
) -> None:
    planned = plan(PUBLISHED, backbone, "last", budget_bytes)
    assert {stage.exemplars for stage in planned.stages} == {exemplars}


def test_the_published_rule_rounds_down() -> None:
    assert published_quota(3312, 100) == 33
    assert published_quota(2000, 10) == 200


def test_one_resnet32_weighs_as_much_as_603_cifar_images() -> None:
    planned = plan(dataclasses.replace(PUBLISHED, task_sizes=(100,)), "resnet32", "last", 1 << 24)
    assert planned.stages[0].model_bytes // 3072 == 603


def test_memo_2_leaves_3033_exemplars_where_both_are_given_equal_bytes() -> None:
    # The paper's appendix B.1: MEMO against MEMO-2, which keeps 2,000.
    memo_2 = plan(PUBLISHED, "resnet32", "last-two", 1 << 30).stages[-1].model_bytes
    planned = plan(PUBLISHED, "resnet32", "last", memo_2 + 2000 * 3072)
    assert planned.stages[-1].exemplars == 3033


def test_a_strict_plan_fills_the_budget_at_every_stage() -> None:
    planned = plan(STRICT, "resnet14", "last", 7_600_000)
    for stage in planned.stages:
        assert 0 <= planned.budget_bytes - stage.total_bytes < 3072 + 2
    exemplars = [stage.exemplars for stage in planned.stages]
    assert exemplars == sorted(exemplars, reverse=True)


def test_there_are_never_more_exemplars_than_pictures() -> None:
    planned = plan(STRICT, "convnet2", "last", 1_000_000_000)
    assert [stage.exemplars for stage in planned.stages] == [5000 * t for t in range(1, 11)]


def test_the_horizon_is_what_the_budget_must_hold() -> None:
    near = dataclasses.replace(STRICT, task_sizes=(10,) * 2)
    budget_bytes = plan(near, "resnet32", "last", 1).smallest_budget_bytes
    assert choose([near], "resnet32", ["last"], budget_bytes, Epochs(1, 1)).plan.fits
    far = dataclasses.replace(STRICT, task_sizes=(10,) * 3)
    with pytest.raises(BudgetError, match="cannot hold 3 tasks"):
        choose([far], "resnet32", ["last"], budget_bytes, Epochs(1, 1))


@pytest.mark.parametrize(
    ("size", "smallest"), [(32, "convnet2"), (64, "convnet2"), (96, "convnet4")]
)
def test_backbones_suit_the_size_of_the_pictures(size: int, smallest: str) -> None:
    demand = dataclasses.replace(STRICT, image_size_px=size)
    assert alternatives(demand, "last", 1 << 30)[0].backbone == smallest


def test_wide_backbones_are_proposed_to_methods_that_take_them_alone() -> None:
    proposed = {planned.backbone for planned in alternatives(STRICT, "last", 1 << 30)}
    assert "resnet32" in proposed
    assert "resnet32x2" not in proposed
    thrifty = dataclasses.replace(STRICT, method=method_named("thrift"))
    assert {"resnet32", "resnet32x2"} < {p.backbone for p in alternatives(thrifty, "last", 1 << 30)}
