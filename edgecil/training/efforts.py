"""What the tasks of a run take, foreseen: pictures, how often, and through how much network."""

from collections.abc import Mapping

from edgecil.methods import Method
from edgecil.training.batchnorm import PICTURES
from edgecil.training.forecast import Effort
from edgecil.training.run import Run
from edgecil.training.run_data import RunData
from edgecil.training.settings import RunSettings


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
        epochs, passes = method.epochs(recipe, stage), method.passes(stage)
        found.append(Effort(images, epochs, passes, min(PICTURES, images) + new + tests))
    return found


def known_speed(run: Run, method: Method) -> float | None:
    """Seconds of a forward pass, as the run's last epoch took them; None before any."""
    last = run.last_speed()
    if last is None or last[1] <= 0:
        return None
    stage, images_per_second = last
    return 1 / images_per_second / method.passes(stage)
