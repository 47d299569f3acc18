"""The planner counts as the papers do when asked to, and else as the files on disk do."""

import dataclasses

import numpy as np
import pytest

from edgecil.errors import BudgetError
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplar_sizes import uniform_size
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.methods import method_named
from edgecil.planning.accounting import ACCOUNTINGS, published_quota
from edgecil.planning.planner import alternatives, plan
from edgecil.planning.plans import Demand
from edgecil.planning.tradeoffs import choose
from edgecil_devices.closed_form import ClassStatistics
from edgecil_devices.images import Preprocessing
from edgecil_devices.preprocessing import FOR_PHOTOS
from tests.edgecil.planning.lengths import epochs

PUBLISHED = Demand(
    method=method_named("memo"),
    task_sizes=(10,) * 10,
    image_size_px=32,
    class_pictures=(500,) * 100,
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


NAMES = ("ant", "bee", "Höckerschwan", 'the "other" one', "cat", "dog")


@pytest.mark.parametrize(
    ("method", "backbone", "cut", "precision", "codec"),
    [
        ("memo", "resnet14", "last", "fp16", "webp:75"),
        ("memo", "convnet2", "last", "int8", "webp-lossless"),
        ("memo-2", "resnet14", "last-two", "fp32", "raw"),
        ("slda", "resnet20", "last", "int8", "jpeg:9"),
    ],
)
def test_all_but_exemplars_is_planned_to_the_byte(
    method: str, backbone: str, cut: str, precision: str, codec: str
) -> None:
    demand = dataclasses.replace(
        STRICT,
        method=method_named(method),
        task_sizes=(2, 1, 3),
        precision=precision,
        codec=codec,
        class_names=NAMES,
        max_blocks=2,
    )
    blocks = (1, 2, 2) if method.startswith("memo") else (1, 1, 1)
    for stage in plan(demand, backbone, cut, 1 << 24).stages:
        settings = StateSettings(
            method=method,
            backbone=backbone,
            cut=cut,
            precision=precision,
            codec=codec,
            preprocessing=Preprocessing(32, reading=FOR_PHOTOS),
            mean=(0.4321, 0.4321, 0.4321),
            std=(0.2345, 0.2345, 0.2345),
            block_count=blocks[stage.stage - 1],
            classes=NAMES[: stage.classes],
            task_sizes=(2, 1, 3)[: stage.stage],
            block_tasks=((0, 1), (2,)) if blocks[-1] == 2 and stage.stage == 3 else None,
        )
        network = settings.empty_network()
        statistics = None
        if method == "slda":
            statistics = ClassStatistics.empty(network.head.in_features)
            for label in range(stage.classes):
                statistics = statistics.added(np.eye(network.head.in_features), label)
        none = ExemplarSet.empty(codec_named(codec), 32)
        state = State.of(settings, network, none, statistics)
        assert stage.model_bytes == state.size_without_exemplars_bytes


@pytest.mark.parametrize("size_px", [32, 96])
@pytest.mark.parametrize(
    ("codec", "exemplar_bytes"),
    [("raw", 3072), ("webp:75", 2), ("webp:75", 301), ("webp:90", 70_000)],
)
def test_as_many_exemplars_are_planned_as_fit(
    codec: str, exemplar_bytes: int, size_px: int
) -> None:
    demand = dataclasses.replace(
        STRICT,
        codec=codec,
        exemplar_bytes=exemplar_bytes,
        image_size_px=size_px,
        class_pictures=(50,) * 6,
    )
    named = codec_named(codec)
    sizes = [uniform_size(3, count, exemplar_bytes, named, size_px) for count in range(151)]
    for spare_bytes in range(-50, sizes[-1] + 100, max(1, exemplar_bytes // 40)):
        fitting = max(0, sum(size <= spare_bytes for size in sizes) - 1)
        assert ACCOUNTINGS["strict"].fitting_exemplars(demand, 3, spare_bytes) == fitting


def test_there_are_never_more_exemplars_than_pictures() -> None:
    planned = plan(STRICT, "convnet2", "last", 1_000_000_000)
    assert [stage.exemplars for stage in planned.stages] == [5000 * t for t in range(1, 11)]


def test_the_horizon_is_what_the_budget_must_hold() -> None:
    near = dataclasses.replace(STRICT, task_sizes=(10,) * 2)
    budget_bytes = plan(near, "resnet32", "last", 1).smallest_budget_bytes
    assert choose([near], "resnet32", ["last"], budget_bytes, epochs(1, 1)).plan.fits
    far = dataclasses.replace(STRICT, task_sizes=(10,) * 3)
    with pytest.raises(BudgetError, match="cannot hold 3 tasks"):
        choose([far], "resnet32", ["last"], budget_bytes, epochs(1, 1))


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
