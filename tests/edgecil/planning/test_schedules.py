"""What a time comes to: pictures a task, epochs, and the largest network that is worth it."""

import dataclasses
import math

import pytest

from edgecil.errors import UsageError
from edgecil.methods import method_named
from edgecil.methods.recipes import PhaseRecipe, Recipe, epochs_for
from edgecil.planning import tradeoffs as module
from edgecil.planning.plans import Demand, Plan, StagePlan
from edgecil.planning.schedules import (
    Epochs,
    EqualWork,
    TooShortError,
    showing,
    task_pictures,
)
from edgecil.planning.tradeoffs import choose
from edgecil.training.request import TrainRequest
from tests.edgecil.planning.test_tradeoffs import DEMANDS, TABLE

DEMAND = Demand(
    method=method_named("replay"),
    task_sizes=(2, 2, 3),
    image_size_px=32,
    class_pictures=(100,) * 7,
    precision="fp16",
    codec="webp:75",
    exemplar_bytes=300,
)
KEPT = (200, 150, 140)


def planned(backbone: str = "resnet14", kept: tuple[int, ...] = KEPT) -> Plan:
    classes = (2, 4, 7)
    stages = tuple(StagePlan(k + 1, classes[k], 0, kept[k], 0) for k in range(3))
    return Plan(backbone, "last", 10**6, stages, 1)


def work(seconds: float) -> EqualWork:
    return EqualWork(seconds, {"resnet14": 0.001}.__getitem__, tests_per_class=10, tasks=3)


def test_a_task_has_its_own_pictures_and_those_that_are_kept() -> None:
    assert task_pictures(DEMAND, planned()) == [200, 400, 450]
    joint = dataclasses.replace(DEMAND, method=method_named("joint"))
    assert task_pictures(joint, planned()) == [200, 400, 700]


def test_a_task_counts_the_pictures_that_its_own_classes_have() -> None:
    unequal = dataclasses.replace(DEMAND, class_pictures=(10, 990, 100, 50, 3, 3, 3))
    assert task_pictures(unequal, planned()) == [1000, 200 + 150, 150 + 9]


def test_what_a_method_does_not_train_is_not_shown() -> None:
    first, later, compression = (PhaseRecipe(n, 0.1, 0.0) for n in (20, 10, 5))
    by_recipe = Epochs(lambda _: Recipe(first, later, compression))
    shown = {
        name: by_recipe.shown(dataclasses.replace(DEMAND, method=method_named(name)), planned())
        for name in ("replay", "slda", "joint", "foster")
    }
    assert shown["replay"] == [20 * 200, 10 * 400, 10 * 450]
    assert shown["slda"][1:] == [0, 0]  # its closed form takes no epochs
    assert shown["joint"] == [20 * 200, 20 * 400, 20 * 700]
    assert shown["foster"] == [20 * 200, 15 * 400, 15 * 450]  # and what it compresses


def test_epochs_are_those_of_all_pictures_of_a_task() -> None:
    asked: list[int] = []

    def recipe(pictures: int) -> Recipe:
        asked.append(pictures)
        phase = PhaseRecipe(1, 0.1, 0.0)
        return Recipe(phase, phase, phase)

    Epochs(recipe).shown(DEMAND, planned())
    assert asked == [200, 400, 450]


def test_tasks_ahead_take_none_of_the_time() -> None:
    one = dataclasses.replace(work(30), tasks=1)
    # 200 pictures, three passes each, and 220 afterwards: 27 s are 44 epochs.
    assert one.images_a_task(DEMAND, planned()) // 200 == 44
    assert one.takes(DEMAND, planned(), 44 * 200) == pytest.approx((44 * 600 + 220) / 1000)


def test_a_small_task_sees_its_pictures_as_often_as_makes_it_equal() -> None:
    assert [epochs_for(2000, n) for n in (200, 400, 450)] == [10, 5, 4]
    assert showing(2000).shown(DEMAND, planned()) == [2000, 2000, 1800]
    assert epochs_for(10, 450) == 1
    assert epochs_for(10**9, 450) == 200


def test_what_a_run_takes_is_training_and_the_pictures_that_pass_after_each_task() -> None:
    # A step on a picture is worth three passes; after a task new pictures and all tests pass once.
    after = (200 + 20) + (200 + 40) + (300 + 70)
    assert work(1).takes(DEMAND, planned(), 2000) == pytest.approx((3 * 5800 + after) / 1000)


def test_blocks_and_merges_take_their_time() -> None:
    memo = dataclasses.replace(DEMAND, method=method_named("memo"), max_blocks=2)
    # Half a pass more beside one old block, and the third task begins with a merge of 4 epochs.
    passes = 3 * 2000 + 3.5 * 2000 + 3.5 * (1800 + 1800)
    after = (200 + 20) + 1.5 * (200 + 40) + 1.5 * (300 + 70)
    assert work(1).takes(memo, planned(), 2000) == pytest.approx((passes + after) / 1000)


def test_pictures_a_task_are_as_many_as_fit_nine_tenths_of_the_time() -> None:
    found = work(30).images_a_task(DEMAND, planned())
    assert work(30).takes(DEMAND, planned(), found) <= 27
    assert work(30).takes(DEMAND, planned(), found + 1) > 27
    assert 27 - work(30).takes(DEMAND, planned(), found) < 3 * 0.45 + 1e-9  # an epoch of the last


def test_a_time_that_is_too_short_is_refused_with_one_that_is_not() -> None:
    with pytest.raises(TooShortError, match="give --time 5s or more, a smaller") as refused:
        work(1).images_a_task(DEMAND, planned())
    # One epoch of 200, 400 and 450 pictures is 3.15 s, and 0.83 s pass after.
    assert refused.value.least_seconds == pytest.approx(3.98 / 0.9)
    assert work(refused.value.least_seconds + 1e-6).images_a_task(DEMAND, planned()) >= 1


def test_a_network_that_does_not_fit_the_memory_is_too_much_for_any_time() -> None:
    schedule = EqualWork(1e9, {"resnet14": math.inf}.__getitem__, tests_per_class=10, tasks=3)
    with pytest.raises(TooShortError, match="resnet14 does not fit the memory of the") as refused:
        schedule.images_a_task(DEMAND, planned())
    assert refused.value.least_seconds == math.inf


def test_more_time_than_anybody_trains_is_not_used() -> None:
    found = work(10**6).images_a_task(DEMAND, planned())
    assert [epochs_for(found, n) for n in task_pictures(DEMAND, planned())] == [200] * 3


def test_a_larger_network_is_taken_where_there_is_time_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "tradeoffs", lambda: TABLE)
    demands = [dataclasses.replace(demand, method=method_named("thrift")) for demand in DEMANDS]
    speeds = {name: 1e-5 * 2**k for k, name in enumerate(TABLE.network)}

    def chosen(seconds: float) -> str:
        schedule = EqualWork(seconds, speeds.__getitem__, tests_per_class=100, tasks=10)
        return choose(demands, None, ["last"], 20_000_000, schedule).plan.backbone

    names = list(TABLE.network)
    places = [names.index(chosen(seconds)) for seconds in (10, 100, 1000, 100_000)]
    assert places == sorted(places)
    assert places[0] < places[-1] == len(names) - 1
    with pytest.raises(TooShortError, match="too short for convnet2"):  # the quickest of them
        chosen(1)
    # What the memory does not hold is passed over; that it is small is told where it holds none.
    speeds |= dict.fromkeys(names[1:], math.inf)
    assert chosen(100_000) == names[0]
    with pytest.raises(TooShortError, match="too short for convnet2"):
        chosen(1)
    speeds[names[0]] = math.inf
    with pytest.raises(TooShortError, match="convnet2 does not fit the memory"):
        chosen(100_000)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"time": "1h", "epochs": 3}, "--time and --epochs both say how long to train"),
        ({"time": "1h", "images_a_task": 3}, "--time and --images-a-task"),
        ({"images_a_task": 9, "first_epochs": 3}, "--images-a-task and --epochs"),
        ({"images_a_task": 0}, "give 1 or more"),
        ({"time": "soon"}, "write 90s, 9m, 1.5h or 1h30m"),
        ({"time": "30m1h"}, "write 90s, 9m, 1.5h or 1h30m"),
        ({"time": "0h0m"}, "write 90s, 9m, 1.5h or 1h30m"),
        ({"time": f"{10**400}h"}, "write 90s, 9m, 1.5h or 1h30m"),
    ],
)
def test_one_length_of_training_is_asked_for_at_most(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TrainRequest(data="cifar100", budget="1MB", **options)  # type: ignore[arg-type]
