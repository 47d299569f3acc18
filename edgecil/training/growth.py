"""How `edgecil learn` makes new classes a run's next task, goes on with it, and gives it up.

A task becomes part of config.json just before its first checkpoint, or just before its state where
it has no epochs. Until then nothing is written;
a crash between the two leaves a task without a checkpoint, which counts as never begun.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from edgecil.errors import BudgetError, DataError, RunError, UsageError
from edgecil.memory.codecs import codec_named
from edgecil.memory.state import State
from edgecil.methods import method_named
from edgecil.planning.accounting import ACCOUNTINGS
from edgecil.planning.block_limits import NO_BOUND, BlockBound
from edgecil.planning.data_facts import DataFacts
from edgecil.planning.tradeoffs import Choice, estimate, tradeoffs
from edgecil.training.resolving import demand_of, schedule_of, source_of
from edgecil.training.run import Run
from edgecil.training.settings import PlannedTask, RunSettings, Source
from edgecil_devices.class_names import composed
from edgecil_devices.output import typed

LEAST_GAIN = 1.0
"""Points, by the planner's estimate, that encoding lossy exemplars once more must bring: what it
loses beyond the codec itself is not in the estimate."""


@dataclass(frozen=True)
class NewTask:
    """Classes that a run is to learn next, and what may change with them."""

    data: str
    """Where they are."""
    holdout: float
    """Part of their pictures for the test."""
    facts: DataFacts
    """Of these data. Exemplars are encoded as one of `exemplar_bytes`: see `codecs_from_here`."""
    budget_bytes: int | None = None
    """The new budget; None for the run's."""
    bound: BlockBound = NO_BOUND
    """On the blocks of the network."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Pictures of the classes learned so far that can be shown again; one that is missing counts as
    a new one."""
    merged_away: int = 0
    """Blocks that the network of the run has lost to merges."""
    latency_ms: float | None = None
    """What a picture may take on a device; None for what it takes."""
    most_blocks: Callable[[RunSettings], int] | None = None
    """Settings -> how many blocks of their network keep `latency_ms`; None for any."""


def kept_of(settings: RunSettings, state: State) -> dict[str, int]:
    """Pictures that a run can show again of each class that it has learned."""
    if method_named(settings.method).sees_all_pictures:
        return {name: n for source in settings.sources for name, n in source.pictures.items()}
    return dict(zip(state.settings.classes, state.exemplars.counts.tolist(), strict=True))


def merged_away_of(settings: RunSettings, state: State) -> int:
    """Blocks that the network of a run has lost to merges."""
    had = method_named(settings.method).blocks_after(state.settings.stage)
    return had - state.settings.block_count


def codecs_from_here(settings: RunSettings, asked: str | None) -> tuple[str, ...]:
    """How the exemplars of a run may be encoded from its next task on, as they are now first.

    Where a codec loses nothing, any other may follow: the bytes are those that it would have given
    at once. What is lossy may become lossier, which loses a little more than at once.

    Args:
        settings: of the run.
        asked: the codec that was asked for; None to leave it to the planner.

    Raises:
        UsageError: it cannot be the codec that was asked for.
    """
    now, counted = settings.codec, ACCOUNTINGS[settings.accounting].codec
    if asked is None:
        if not method_named(settings.method).keeps_exemplars:
            return (now,)
        others = () if counted else tradeoffs().codec
        return (now, *(one for one in others if _may_follow(now, one)))
    if asked == now:
        return (now,)
    if counted:
        raise UsageError(
            f"--accounting {settings.accounting} counts exemplars as {counted}; leave out --codec"
        )
    if not _may_follow(now, codec_named(asked).name):
        raise UsageError(
            f"the exemplars of this run are kept in {now}, and {asked} cannot bring back what they "
            "have lost; leave out --codec, or name one that is smaller"
        )
    return (asked,)


def _may_follow(now: str, other: str) -> bool:
    """Whether exemplars in the codec `now` may be encoded again by another one."""
    if codec_named(now).lossless:
        return other != now
    (kind, _, quality), (other_kind, _, other_quality) = now.partition(":"), other.partition(":")
    return kind == other_kind and int(other_quality) < int(quality)


def resolve_new_task(run: Run, learned: int, new: NewTask) -> tuple[RunSettings, Choice | None]:
    """The settings with which a run learns new classes, or goes on learning them.

    Args:
        run: nobody else writes it.
        learned: tasks that its state has.
        new: the classes.

    Returns:
        The settings, whose last task is these classes, and what a new task comes to, with the
        reason for what has changed; None where the task was begun before, or is learned already.

    Raises:
        RunError: other classes have been begun, or the tasks of `edgecil train` are unfinished.
        DataError: a class is known already.
        BudgetError: the budget cannot hold one more task.
    """
    settings, found = run.settings(), source_of(new.data, new.holdout, new.facts)
    if learned < settings.stage_count:
        if not settings.is_added(learned + 1):
            raise RunError(
                f"{run.folder} has learned {learned} of its {settings.stage_count} tasks; finish "
                f"it first with {settings.going_on(run.folder, learned)}"
            )
        if run.checkpoints.load(learned + 1):
            _require_begun_alike(run, settings, found, new)
            return _found_again(run, settings, found), None
        discard(run)
        settings = run.settings()
    if settings.is_added(learned) and settings.sources[-1].fingerprint == found.fingerprint:
        if otherwise := _asked_otherwise(settings, new):
            option, how = otherwise
            raise RunError(
                f"{run.folder} has learned these classes already, {how}; {option} goes with new "
                "ones"
            )
        return _found_again(run, settings, found), None
    grown, choice = with_new_task(settings, new)
    run.grow(grown)
    return grown, choice


def with_new_task(settings: RunSettings, new: NewTask) -> tuple[RunSettings, Choice]:
    """The settings of a run whose next task is all new classes, and why they changed, if they did.

    Raises:
        DataError: a class is known already.
        BudgetError: the budget cannot hold one more task.
    """
    known, facts = set(map(composed, settings.classes)), new.facts
    again = sorted(known & set(map(composed, facts.classes)))
    if again:
        more = f" and {len(again) - 5} more" if len(again) > 5 else ""
        raise DataError(
            f"the run knows of {new.data} already: {', '.join(map(repr, again[:5]))}{more}; give "
            "--data a folder of new classes alone, and rename those that only have a name in common"
        )
    ceiling = new.most_blocks(settings) if new.most_blocks else None
    # Blocks that are bound by their number are no longer bound by an earlier latency.
    earlier_ms = 0.0 if new.bound.max_blocks else settings.latency_ms
    grown = replace(
        settings,
        sources=(*settings.sources, source_of(new.data, new.holdout, facts)),
        tasks=(*settings.tasks, PlannedTask(facts.classes, len(settings.sources))),
        tasks_ahead=max(0, settings.tasks_ahead - 1),
        budget_bytes=new.budget_bytes or settings.budget_bytes,
        max_blocks=replace(new.bound, ceiling=ceiling).over(settings.max_blocks),
        latency_ms=new.latency_ms or earlier_ms or 0.0,
    )
    choice, reason = _chosen(grown, new), ""
    codec = choice.demand.codec
    if codec != settings.codec:
        told = f"exemplars are kept in {codec} from here on, no longer in {settings.codec}"
        reason = ": ".join(filter(None, (told, choice.reason)))
    grown = replace(grown, codec=codec, max_blocks=choice.demand.max_blocks)
    return grown, replace(choice, reason=reason)


def _chosen(grown: RunSettings, new: NewTask) -> Choice:
    """What the planner chooses for a run with a new task, which still has the codec of before."""
    facts, schedule = new.facts, schedule_of(grown)

    def best(*codecs: str) -> Choice:
        demands = [
            replace(
                demand_of(replace(grown, codec=codec), facts, new.kept),
                merged_away=new.merged_away,
            )
            for codec in codecs
        ]
        cuts = (grown.cut,)
        return new.bound.chooser(demands, grown.backbone, cuts, grown.budget_bytes, schedule)

    def points(choice: Choice) -> float:
        return estimate(choice.demand, choice.plan, schedule)

    choice, now = best(*facts.exemplar_bytes), grown.codec
    may_stay = now in facts.exemplar_bytes  # or another one was asked for
    if choice.demand.codec == now or not may_stay or codec_named(now).lossless:
        return choice
    try:
        as_now = best(now)
    except BudgetError:  # it must change
        return choice
    return choice if points(choice) >= points(as_now) + LEAST_GAIN else as_now


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


def _require_begun_alike(run: Run, settings: RunSettings, found: Source, new: NewTask) -> None:
    """Check that the task that was begun is what is asked for now."""
    begun, classes = settings.sources[-1], settings.tasks[-1].classes
    way_back = f"or give it up: edgecil learn {typed(run.folder)} --discard"
    if changes := begun.changes(found, classes):
        if begun.holdout != found.holdout:
            changes += f"; --holdout was {begun.holdout:g}"
        raise RunError(
            f"{run.folder} has begun a task of {len(classes)} classes from {begun.data}, and "
            f"{found.data} is not what it began with: {changes}; finish the task: "
            f"{settings.going_on(run.folder, settings.stage_count - 1)}, {way_back}"
        )
    if otherwise := _asked_otherwise(settings, new):
        option, how = otherwise
        raise RunError(f"{run.folder} has begun this task {how}; leave out {option}, {way_back}")


def _asked_otherwise(settings: RunSettings, new: NewTask) -> tuple[str, str] | None:
    """An option of `edgecil learn` that asks for what the run has otherwise, and how it has it."""
    if new.budget_bytes not in (None, settings.budget_bytes):
        return "--budget", f"under a budget of {settings.budget_bytes} bytes"
    if settings.codec not in new.facts.exemplar_bytes:
        return "--codec", f"with exemplars in {settings.codec}"
    most, fewer = settings.max_blocks or settings.stage_count, new.bound.max_blocks
    if fewer and fewer < most:
        return "--max-blocks", f"with at most {most} blocks"
    # Measured again, it might be another number of blocks.
    if new.latency_ms is not None and settings.latency_ms not in (None, new.latency_ms):
        had_ms = settings.latency_ms
        return "--latency", f"with --latency {had_ms:.10g}ms" if had_ms else "without --latency"
    return None


def _found_again(run: Run, settings: RunSettings, found: Source) -> RunSettings:
    """The settings with where the data of the last task are now."""
    moved = settings.with_last_source_in(found.data)
    if moved != settings:
        moved.save(run.config_file)
    return moved
