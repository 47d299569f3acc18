"""Recipes have the published numbers, and schedules the published shape."""

import pytest
import torch

from edgecil.errors import UsageError
from edgecil.methods.recipes import PhaseRecipe, recipe_named
from edgecil.pictures.batches import batch_sizes


def rate_in_epoch(phase: PhaseRecipe, epoch: int) -> float:
    """In the middle of an epoch, counted from 0."""
    return phase.rate_at((epoch + 0.5) / phase.epochs)


@pytest.mark.parametrize(
    ("phase", "epochs", "milestones", "weight_decay"),
    [
        (recipe_named("published", "memo").first, 200, (60, 120, 170), 5e-4),
        (recipe_named("published", "memo").incremental, 170, (80, 120, 150), 2e-4),
        (recipe_named("published", "der").incremental, 170, (80, 120, 150), 2e-4),
        (recipe_named("published", "finetune").incremental, 80, (40, 70), 2e-4),
        (recipe_named("published", "replay").incremental, 70, (30, 50), 2e-4),
        (recipe_named("published", "icarl").incremental, 170, (80, 120), 2e-4),
        (recipe_named("published", "wa").incremental, 170, (60, 100, 140), 2e-4),
    ],
)
def test_the_published_recipe_falls_to_a_tenth_at_the_published_epochs(
    phase: PhaseRecipe, epochs: int, milestones: tuple[int, ...], weight_decay: float
) -> None:
    assert (phase.epochs, phase.weight_decay) == (epochs, weight_decay)
    assert (phase.batch_size, phase.momentum) == (128, 0.9)
    for fallen, milestone in enumerate(milestones):
        assert rate_in_epoch(phase, milestone - 1) == pytest.approx(0.1 * 0.1**fallen)
        assert rate_in_epoch(phase, milestone) == pytest.approx(0.1 * 0.1 ** (fallen + 1))
    assert rate_in_epoch(phase, epochs - 1) == pytest.approx(0.1 * 0.1 ** len(milestones))


@pytest.mark.parametrize(
    ("phase", "epochs", "weight_decay"),
    [
        (recipe_named("published", "foster").first, 200, 5e-4),
        (recipe_named("published", "foster").incremental, 170, 5e-4),
        (recipe_named("published", "foster").compression, 130, 0.0),
        (recipe_named("published-cosine", "memo").incremental, 170, 2e-4),
    ],
)
def test_the_cosine_falls_epoch_by_epoch_as_torch_has_it(
    phase: PhaseRecipe, epochs: int, weight_decay: float
) -> None:
    assert (phase.epochs, phase.learning_rate, phase.weight_decay) == (epochs, 0.1, weight_decay)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    for epoch in range(epochs):
        assert rate_in_epoch(phase, epoch) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        scheduler.step()


def test_fewer_epochs_keep_the_milestones_at_their_fractions() -> None:
    phase = recipe_named("published", "memo").adapted(epochs=10).first
    falls = [e for e in range(1, 10) if rate_in_epoch(phase, e) < rate_in_epoch(phase, e - 1)]
    assert falls == [3, 6, 8]


@pytest.mark.parametrize("method", ["memo", "finetune", "replay", "icarl", "wa"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_the_first_epoch_has_the_whole_rate_however_few_there_are(method: str, epochs: int) -> None:
    recipe = recipe_named("published", method).adapted(epochs=epochs)
    for phase in (recipe.first, recipe.incremental):
        rates = {phase.rate_at(step / 10 / epochs) for step in range(10)}
        assert rates == {0.1}


def test_one_cycle_rises_to_the_highest_rate_and_falls_to_nothing() -> None:
    phase = PhaseRecipe(epochs=8, learning_rate=0.2, weight_decay=0, warm_up=0.25)
    assert phase.rate_at(0) == pytest.approx(0.02)
    assert phase.rate_at(0.25) == pytest.approx(0.2)
    assert phase.rate_at(0.625) == pytest.approx(0.1)
    assert phase.rate_at(1) == 0


def test_numbers_given_by_hand_override_the_recipe() -> None:
    recipe = recipe_named("fast", "memo").adapted(
        epochs=3, first_epochs=5, learning_rate=0.01, batch_size=32
    )
    assert (recipe.first.epochs, recipe.incremental.epochs) == (5, 3)
    assert recipe.first.learning_rate == recipe.incremental.learning_rate == 0.01
    assert recipe.first.batch_size == recipe.incremental.batch_size == 32


def test_a_batch_size_given_by_hand_has_a_rate_that_suits_it_and_is_that_of_small_tasks() -> None:
    of_16 = recipe_named("fast", "memo").adapted(batch_size=16).for_images(10_000).first
    assert of_16.batch_size == 16
    assert of_16.learning_rate == pytest.approx(0.07)
    of_64 = recipe_named("fast", "memo").adapted(batch_size=64).for_images(72).first
    assert of_64.batch_size == 64
    assert of_64.learning_rate == pytest.approx(0.14)
    published = recipe_named("published", "memo").adapted(batch_size=32).first
    assert (published.batch_size, published.learning_rate) == (32, 0.1)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        recipe_named("fast", "memo").adapted(epochs=0)
    with pytest.raises(UsageError, match="at least 2"):
        recipe_named("fast", "memo").adapted(batch_size=1)
    with pytest.raises(UsageError, match="fast, thorough, frozen, published, published-cosine"):
        recipe_named("slow", "memo")


@pytest.mark.parametrize(
    ("images", "epochs", "batch_size", "rate"),
    [
        # A quarter of 4,000 pictures twice as often; batches that make four steps, and no less
        # than eight pictures; the rate by the root of the batch.
        (50_000, 20, 64, 0.14),
        (4000, 20, 64, 0.14),
        (1000, 40, 64, 0.14),
        (400, 63, 64, 0.14),
        (160, 100, 32, 0.14 / 2**0.5),
        (72, 100, 16, 0.07),
        (16, 100, 8, 0.14 / 8**0.5),
        (2, 100, 8, 0.14 / 8**0.5),
    ],
)
def test_a_small_task_gets_more_epochs_of_smaller_batches(
    images: int, epochs: int, batch_size: int, rate: float
) -> None:
    phase = recipe_named("fast", "memo").for_images(images).first
    assert (phase.epochs, phase.batch_size) == (epochs, batch_size)
    assert phase.learning_rate == pytest.approx(rate)


def test_every_phase_of_a_small_task_makes_steps_enough() -> None:
    for images in range(40, 8000, 37):
        suited = recipe_named("fast", "foster").for_images(images)
        for phase, least in ((suited.first, 250), (suited.incremental, 125)):
            assert phase.epochs * len(batch_sizes(images, phase.batch_size)) >= least
            assert phase.epochs * images <= max(82_000, images * 20)


@pytest.mark.parametrize("name", ["published", "published-cosine"])
def test_published_recipes_are_as_published_for_every_task(name: str) -> None:
    recipe = recipe_named(name, "foster")
    assert recipe.for_images(10) == recipe


def test_thorough_training_has_smaller_batches_for_small_tasks_and_no_more_epochs() -> None:
    phase = recipe_named("thorough", "memo").for_images(72).first
    assert (phase.epochs, phase.batch_size) == (160, 16)
