"""What a run that goes on takes from how it began, and what it can no longer be asked for.

What is left to edgecil, and a time or a latency, are turned into other settings once, by trade-offs
and measurements that may come out otherwise today. The weights that a network starts from are
needed until it has started.
"""

from dataclasses import replace

from edgecil.errors import RunError
from edgecil.methods import method_named
from edgecil.networks.backbones import pretrained_named
from edgecil.networks.sources import Origin, sha256_of
from edgecil.training.request import TrainRequest
from edgecil.training.resolving import origin_of
from edgecil.training.run import Run
from edgecil.training.settings import RunSettings
from edgecil.training.stopping import parse_duration


def require_same_bounds(
    run: Run, begun: RunSettings, request: TrainRequest, latency_ms: float | None
) -> None:
    """Check that a run is not asked for another time or latency than it began with.

    Args:
        run: the run that goes on.
        begun: its settings; an older edgecil did not keep either, and then nothing is checked.
        request: what is asked for now.
        latency_ms: what `--latency` asks for now; None without it.

    Raises:
        RunError: it began without, or with another one.
    """
    if begun.is_added(begun.stage_count):
        return  # `Run.started` says what goes on with a run that has come further
    time_seconds = parse_duration(request.time) if request.time else None
    for option, unit, asked, had, decides, instead in (
        ("--time", "s", time_seconds, begun.time_seconds, "epochs", " and give --stop-after"),
        ("--latency", "ms", latency_ms, begun.latency_ms, "blocks", ""),
    ):
        if asked is None or had in (None, asked):
            continue
        began, remedy = f"without {option}", f"leave it out{instead}"
        if had:
            began, remedy = f"with {option} {had:.10g}{unit}", "give the same one"
        raise RunError(
            f"{run.folder} was started {began}, which decides network and {decides} when a run "
            f"starts; {remedy}, or give another --run folder"
        )


def as_begun(request: TrainRequest, begun: RunSettings) -> TrainRequest:
    """The request of a run that goes on, with what was chosen for it when it began."""
    counted = request.counting  # may settle codec and precision itself
    comes = pretrained_named(begun.backbone)  # which is found again in another way
    # Where another method is asked for, that is what the run differs in, and not its bound.
    asked = (request.chosen_method, request.accounting, request.no_merge)
    alike = asked == (begun.method, begun.accounting, False)
    most = request.max_blocks or (begun.max_blocks if alike else None)
    # For so many pictures merging costs no time, and might be found worth it where it was not.
    all_stay = alike and most is None and request.budget_bytes == begun.budget_bytes
    lengths = (request.epochs, request.first_epochs, request.images_a_task)
    bound = request.time or (begun.time_seconds and lengths == (None, None, None))
    return replace(
        request,
        time=None,
        images_a_task=begun.images_a_task if bound else request.images_a_task,
        recipe=request.recipe or (begun.recipe if bound else None),
        backbone=request.backbone or (None if comes else begun.backbone),
        codec=request.codec or (None if counted.codec else begun.codec),
        precision=request.precision or (None if counted.precision else begun.precision),
        max_blocks=most,
        no_merge=request.no_merge or all_stay,
    )


def origin_now(request: TrainRequest, run: Run, begun: RunSettings | None) -> Origin | None:
    """Where the weights come from that a run starts with, or has started with.

    A file is known by its content. Once no task starts from it any more, it may be gone, and
    `--weights` may be left out.

    Args:
        request: what is asked for.
        run: the run.
        begun: its settings, if it goes on.

    Raises:
        WeightsError: a file that is wanted cannot be read.
    """
    if begun and begun.origin and _is_as_begun(begun.origin, request, run, begun):
        return begun.origin
    return origin_of(request)


def _is_as_begun(origin: Origin, request: TrainRequest, run: Run, begun: RunSettings) -> bool:
    """Whether a run may go on with the weights that it began with, of this origin."""
    if request.weights and request.weights.exists():
        return sha256_of(request.weights).startswith(origin.sha256)
    return not _starts_networks(run, begun)


def _starts_networks(run: Run, begun: RunSettings) -> bool:
    """Whether a task is still to start a network from the weights that the run began with."""
    # A crash may have come between the first state and its result.
    learned = max([int(run.state_folder.exists()), *(one.stage for one in run.stage_results())])
    started = learned + (run.checkpoints.load(learned + 1) is not None)
    afresh = method_named(begun.method).sees_all_pictures  # in every task
    return started < (begun.stage_count if afresh else 1)
