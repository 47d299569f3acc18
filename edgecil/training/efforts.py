"""What the tasks of a run take, foreseen: pictures, how often, and through how much network."""

from collections.abc import Mapping

from edgecil.methods import Method
from edgecil.methods.recipes import Recipe
from edgecil.networks.backbones import pretrained_named
from edgecil.training.batchnorm import PICTURES
from edgecil.training.forecast import Effort
from edgecil.training.run import Run
from edgecil.training.run_data import RunData
from edgecil.training.settings import RunSettings

_MAPPED_STEP = 0.02
"""A step of a thin block on a feature map: 3,000 pictures a second where a pass takes 6 ms."""


def efforts_of(
    settings: RunSettings, data: RunData, method: Method, exemplars: Mapping[int, int]
) -> list[Effort]:
    """One for each task of a run.

    Args:
        settings: the run's.
        data: its pictures; a task whose pictures are gone counts none.
        method: how it learns.
        exemplars: how many are kept after tasks, by their numbers from 1. A task that is not among
            them keeps as many as the one before it.
    """
    found = []
    seen = tests = kept = 0
    for stage in range(1, settings.stage_count + 1):
        new, for_test = data.counts(stage)
        old = kept if method.keeps_exemplars else 0
        images = new + (seen if method.sees_all_pictures else old)
        seen, tests = seen + new, tests + for_test
        kept = min(seen, exemplars.get(stage, kept))
        recipe = settings.training_recipe(max(images, 1))
        epochs, passes = method.epochs(recipe, stage), _passes(settings, method, recipe, stage)
        if settings.blocks_kept(stage) is not None:
            epochs += recipe.compression.epochs  # of the merge
        found.append(Effort(images, epochs, passes, min(PICTURES, images) + new + tests))
    return found


def _passes(settings: RunSettings, method: Method, recipe: Recipe, stage: int) -> float:
    """What showing a picture in an epoch is worth, in forward passes.

    Behind a pretrained trunk each view passes once for all epochs, and a step is next to nothing.
    """
    phase = recipe.first if stage == 1 else recipe.incremental
    if phase.crops is None or not pretrained_named(settings.backbone):
        return method.passes(min(stage, settings.max_blocks or stage))
    views = 1 + settings.mirrors + phase.crops
    return views / phase.epochs + _MAPPED_STEP


def known_speed(run: Run, settings: RunSettings, method: Method) -> float | None:
    """Seconds of a forward pass, as the run's last epoch took them; None before any.

    Behind a pretrained trunk an epoch does not tell, and so nothing is known.
    """
    last = run.last_speed()
    if last is None or last[1] <= 0 or pretrained_named(settings.backbone):
        return None
    stage, images_per_second = last
    return 1 / images_per_second / method.passes(min(stage, settings.max_blocks or stage))
