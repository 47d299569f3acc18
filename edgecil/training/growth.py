"""How `edgecil learn` makes new classes a run's next task, goes on with it, and gives it up.

A task becomes part of config.json just before its first checkpoint, or just before its state where
it has no epochs. Until then nothing is written;
a crash between the two leaves a task without a checkpoint, which counts as never begun.
"""

from edgecil.errors import RunError
from edgecil.planning.block_limits import BlockBound
from edgecil.planning.data_facts import DataFacts
from edgecil.planning.plans import Plan
from edgecil.training.resolving import source_of, with_new_task
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings, Source


def resolve_new_task(
    run: Run,
    learned: int,
    data: str,
    holdout: float,
    facts: DataFacts,
    budget_bytes: int | None,
    bound: BlockBound,
) -> tuple[RunSettings, Plan | None]:
    """The settings with which a run learns the classes of `data`, or goes on learning them.

    Args:
        run: nobody else writes it.
        learned: tasks that its state has.
        data: where the classes are.
        holdout: part of the pictures for the test.
        facts: of these data.
        budget_bytes: the new budget; None for the run's.
        bound: on the blocks of the network.

    Returns:
        The settings, whose last task is these classes, and what a new task comes to; None where the
        task was begun before, or is learned already.

    Raises:
        RunError: other classes have been begun, or the tasks of `edgecil train` are unfinished.
        DataError: a class is known already.
        BudgetError: the budget cannot hold one more task.
    """
    settings, found = run.settings(), source_of(data, holdout, facts)
    if learned < settings.stage_count:
        if not settings.is_added(learned + 1):
            raise RunError(
                f"{run.folder} has learned {learned} of its {settings.stage_count} tasks; finish "
                f"it first with {settings.going_on(run.folder, learned)}"
            )
        if run.checkpoints.load(learned + 1):
            _require_begun_alike(run, settings, found, budget_bytes)
            return _found_again(run, settings, found), None
        discard(run)
        settings = run.settings()
    if settings.is_added(learned) and settings.sources[-1].fingerprint == found.fingerprint:
        return settings, None
    budget_bytes = budget_bytes or settings.budget_bytes
    grown, planned = with_new_task(settings, data, holdout, facts, budget_bytes, bound)
    run.grow(grown)
    return grown, planned


def discard(run: Run) -> tuple[str, ...]:
    """Give up the last task of `run`, which `edgecil learn` added and has not finished.

    Returns:
        The classes given up.
    """
    settings = run.settings()
    stage, classes = settings.stage_count, settings.tasks[-1].classes
    before = run.checkpoints.remembered()
    if before is None or before.stage_count != stage - 1:  # an older edgecil began it
        before = settings.without_last_task()
    run.checkpoints.delete_last()
    run.forget_epochs(stage, 0)
    run.history.of_stage(stage).delete()
    before.save(run.config_file)
    run.checkpoints.delete()
    return classes


def is_unfinished(settings: RunSettings, learned: int) -> bool:
    """Whether a task of `edgecil learn` was begun and not finished."""
    return learned < settings.stage_count and settings.is_added(learned + 1)


def _require_begun_alike(
    run: Run, settings: RunSettings, found: Source, budget_bytes: int | None
) -> None:
    """Check that the task that was begun is what is asked for now."""
    begun, classes = settings.sources[-1], settings.tasks[-1].classes
    way_back = f"or give it up: edgecil learn {run.folder} --discard"
    if changes := begun.changes(found, classes):
        if begun.holdout != found.holdout:
            changes += f"; --holdout was {begun.holdout:g}"
        raise RunError(
            f"{run.folder} has begun a task of {len(classes)} classes from {begun.data}, and "
            f"{found.data} is not what it began with: {changes}; finish the task: "
            f"{settings.going_on(run.folder, settings.stage_count - 1)}, {way_back}"
        )
    if budget_bytes not in (None, settings.budget_bytes):
        raise RunError(
            f"{run.folder} has begun this task under a budget of {settings.budget_bytes} bytes; "
            f"leave out --budget, {way_back}"
        )


def _found_again(run: Run, settings: RunSettings, found: Source) -> RunSettings:
    """The settings with where the data of the last task are now."""
    moved = settings.with_last_source_in(found.data)
    if moved != settings:
        moved.save(run.config_file)
    return moved
