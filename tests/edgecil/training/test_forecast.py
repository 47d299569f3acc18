"""The time left follows the machine's own speed."""

import math
import time
from dataclasses import replace
from typing import NoReturn

import pytest
import torch

from edgecil.methods import METHODS, method_named
from edgecil.methods.base import classification
from edgecil.methods.lesson import Lesson, Phase
from edgecil.methods.recipes import PhaseRecipe
from edgecil.networks import ExpandableNetwork, cut_backbone
from edgecil.planning.data_facts import facts_of
from edgecil.team import Team
from edgecil.training import rehearsal
from edgecil.training.efforts import efforts_of
from edgecil.training.forecast import Effort, Forecast
from edgecil.training.rehearsal import pace_on, rehearsed_speed
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import resolve
from edgecil.training.run_data import RunData
from edgecil.training.settings import RunSettings
from tests.edgecil.training.pretended_card import pretended_card
from tests.edgecil.training.tiny import tiny_dataset

TASKS = [
    Effort(images=100, epochs=4, passes=3, images_after=20),
    Effort(images=200, epochs=2, passes=4, images_after=40),
]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_foreseen_where_nothing_is_known_of_the_speed() -> None:
    assert Forecast(TASKS).left() is None


def test_a_known_speed_gives_the_time_of_the_task_and_of_the_run() -> None:
    left = Forecast(TASKS, 0.5).left()
    assert left
    # 400 pictures of 3 passes and 20 of one; then 400 of 4 and 40 of two.
    assert left.task_seconds == 0.5 * (1200 + 20)
    assert left.run_seconds == 0.5 * (1200 + 20 + 1600 + 80)


def test_training_itself_corrects_the_speed_and_its_first_step_does_not_count() -> None:
    clock = Clock()
    forecast = Forecast(TASKS, 99.0, clock)
    forecast.begin_task(1, 100)
    clock.now = 50.0  # as long as a first step may take
    forecast.step(10)
    clock.now = 53.0
    forecast.step(10)  # 3 s for 10 pictures of 3 passes: 0.1 s a pass
    left = forecast.left()
    assert left
    assert left.task_seconds == pytest.approx(0.1 * (380 * 3 + 20))
    assert left.run_seconds - left.task_seconds == pytest.approx(0.1 * 1680)


def test_a_resumed_task_has_less_left_and_another_number_of_pictures_counts() -> None:
    forecast = Forecast(TASKS, 1.0)
    forecast.begin_task(2, 150, finished_epochs=1)
    left = forecast.left()
    assert left
    assert left.task_seconds == left.run_seconds == 150 * 4 + 80


def test_once_trained_only_measuring_is_left_and_never_less_than_nothing() -> None:
    clock = Clock()
    forecast = Forecast(TASKS, 1.0, clock)
    forecast.begin_task(2, 200)
    forecast.end_training()
    for clock.now, seconds in ((0.0, 80.0), (60.0, 20.0), (500.0, 0.0)):
        left = forecast.left()
        assert left
        assert left.task_seconds == seconds


def settings_of(method: str) -> RunSettings:
    request = TrainRequest(
        data="tiny",
        budget="2MB",
        increment=2,
        backbone="resnet14" if method == "memo-2" else "convnet2",
        epochs=3,
        first_epochs=5,
        method=method,
    )
    return resolve(request, facts_of(tiny_dataset(), request.possible_codecs))[0]


def test_the_pictures_of_later_tasks_are_those_of_the_data_and_the_exemplars_of_the_plan() -> None:
    settings = settings_of("memo")
    data = RunData([tiny_dataset()], settings.tasks)
    efforts = efforts_of(settings, data, method_named("memo"), {1: 30, 2: 40})
    # Two classes a task, each with 24 pictures to learn from and 8 to test on.
    assert [effort.images for effort in efforts] == [48, 48 + 30, 48 + 40]
    assert [effort.epochs for effort in efforts] == [5, 3, 3]
    assert [effort.images_after for effort in efforts] == [48 + 48 + 16, 78 + 48 + 32, 88 + 48 + 48]
    gone = efforts_of(settings, RunData([None], settings.tasks), method_named("memo"), {})
    assert [effort.images for effort in gone] == [0, 0, 0]


def test_joint_training_sees_all_pictures_again_and_finetune_none() -> None:
    data = RunData([tiny_dataset()], settings_of("memo").tasks)
    seen = {
        name: [e.images for e in efforts_of(settings_of(name), data, method_named(name), {1: 9})]
        for name in ("joint", "finetune")
    }
    assert seen == {"joint": [48, 96, 144], "finetune": [48, 48, 48]}


@pytest.mark.parametrize("name", METHODS)
def test_no_method_counts_for_less_than_a_step_and_foster_has_two_phases(name: str) -> None:
    method = method_named(name)
    recipe = settings_of(name).training_recipe(5000)
    assert all(method.passes(stage) >= 3 for stage in (1, 2, 9))
    epochs = {"foster": 6, "joint": 5, "slda": 0}.get(name, 3)
    assert [method.epochs(recipe, stage) for stage in (1, 2)] == [5, epochs]


def rehearsed(batch_size: int | None = None, images: int = 48, device: str = "cpu") -> float | None:
    network = ExpandableNetwork(
        cut_backbone("convnet2", "last"), 2, 1, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    ).to(device)
    settings = replace(settings_of("memo"), batch_size=batch_size)
    efforts = [Effort(images, 5, 3, 0)]
    return rehearsed_speed(network, method_named("memo"), settings, efforts)


def test_a_rehearsal_measures_a_short_run_by_one_small_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = counted_steps(monkeypatch)
    assert rehearsed(batch_size=100) == pytest.approx(SECONDS_A_PICTURE / 3)
    assert sizes == [16]


def test_a_rehearsal_measures_a_long_run_by_steps_of_its_own_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = counted_steps(monkeypatch)
    assert rehearsed(batch_size=100, images=10**9) == pytest.approx(SECONDS_A_PICTURE / 3)
    assert sizes[:5] == [16, 32, 64, 100, 100]
    assert sum(sizes) * SECONDS_A_PICTURE < 1.0


def test_what_a_card_needs_to_set_itself_up_is_not_taken_for_its_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pretended_card():
        sizes = counted_steps(monkeypatch, first_step=1.5)
        assert rehearsed(100, device="cuda") == pytest.approx(SECONDS_A_PICTURE / 3)
        assert sizes == [100, 100]


def test_a_long_run_on_a_card_is_measured_by_steps_that_are_replayed() -> None:
    with pretended_card() as card:
        assert rehearsed(100, device="cuda")
        assert card.replays == 0
        assert rehearsed(100, images=10**9, device="cuda")
        assert card.replays > 0


def test_what_takes_more_memory_than_there_is_has_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise torch.OutOfMemoryError

    settings, processor = settings_of("memo"), torch.device("cpu")
    counted_steps(monkeypatch)
    for module, name in ((ExpandableNetwork, "to"), (rehearsal, "_step")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            assert pace_on(processor, settings) == math.inf
    # So much noise at once need not fit where a step does.
    monkeypatch.setattr(rehearsal, "ResidentImages", full)
    assert pace_on(processor, settings) == pytest.approx(SECONDS_A_PICTURE / 3)


def test_a_step_of_many_processes_is_measured_however_few_pictures_each_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = counted_steps(monkeypatch)
    monkeypatch.setattr(rehearsal, "team", lambda: Team(size=8))
    assert rehearsed(batch_size=4) == pytest.approx(SECONDS_A_PICTURE / 3 / 8)
    assert sizes == [2]


SECONDS_A_PICTURE = 0.0004


def counted_steps(monkeypatch: pytest.MonkeyPatch, first_step: float = 0.0) -> list[int]:
    """The sizes of a rehearsal's steps, on a machine whose clock depends on them alone."""
    sizes: list[int] = []

    def step(phase: Phase, size: int, image_size_px: int, device: torch.device) -> float:
        pictures = torch.zeros(2, 3, 16, 16, device=device)
        assert phase.loss(pictures, torch.zeros(2, dtype=torch.int64, device=device)) > 0
        sizes.append(size)
        return SECONDS_A_PICTURE * size + (first_step if len(sizes) == 1 else 0.0)

    monkeypatch.setattr(rehearsal, "_step", step)
    monkeypatch.setattr(
        "edgecil.training.rehearsal.time.perf_counter", lambda: sum(sizes) * SECONDS_A_PICTURE
    )
    return sizes


def test_a_real_step_takes_time_and_leaves_the_weights() -> None:
    network = ExpandableNetwork(
        cut_backbone("convnet2", "last"), 2, 1, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    before = [weight.clone() for weight in network.parameters()]
    lesson = Lesson([Phase("train", PhaseRecipe(1, 0.1, 0.0), classification(network), [network])])
    settings = settings_of("memo")
    began = time.perf_counter()
    seconds = rehearsal.seconds_a_picture(network, lesson, settings, 1)
    assert seconds
    assert 0 < 16 * seconds < time.perf_counter() - began  # a step of so many pictures
    assert all(map(torch.equal, before, network.parameters()))
    assert rehearsal.seconds_a_picture(network, Lesson([]), settings, 1) is None
