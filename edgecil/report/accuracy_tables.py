"""Tables of accuracy: measured rows, and published ones marked as such."""

from collections.abc import Sequence
from html import escape

from edgecil.evaluation.measures import Areas, Spread
from edgecil.published import PublishedAccuracy, PublishedAreas
from edgecil.report.cells import Outcome, mib
from edgecil.report.html import NOTHING, Row, table

FORGETTING = 2
"""Place of forgetting, of which least is best, among the measures of a row."""


def sessions_table(outcomes: Sequence[Outcome], published: Sequence[PublishedAccuracy]) -> str:
    """Accuracy after every task, as the papers show it; the best of the rivals in bold."""
    rivals = [outcome for outcome in outcomes if not outcome.is_ceiling]
    best = _best([_measures(rival) for rival in rivals])
    counts = {len(outcome.cell.runs) for outcome in outcomes}
    rows = []
    for outcome in outcomes:
        measured = []
        for at, spread in enumerate(_measures(outcome)):
            is_best = spread is not None and spread.mean == best.get(at) and not outcome.is_ceiling
            measured.append(_bold(_spread(spread, with_deviation=at <= FORGETTING), is_best))
        label = escape(outcome.label)
        if len(counts) > 1:
            label += f" <small>n = {len(outcome.cell.runs)}</small>"
        budget, network = mib(outcome.cell.budget_mib), outcome.cell.settings.backbone
        rows.append(Row([label, *measured[:3], budget, escape(network), *measured[3:]]))
    sessions = range(1, len(outcomes[0].sessions) + 1)
    rows += [_published_row(entry, len(sessions)) for entry in published]
    head = ["method", "average", "last", "forgetting", "MiB", "network", *map(str, sessions)]
    return table(head, rows, _caption(outcomes, published, len(rivals), counts))


def _measures(outcome: Outcome) -> list[Spread | None]:
    """Average, last, forgetting, and every session."""
    forgetting = outcome.forgetting[-1] if outcome.forgetting else None
    return [outcome.average, outcome.last, forgetting, *outcome.sessions]


def _best(rows: Sequence[Sequence[Spread | None]]) -> dict[int, float]:
    """The best mean in every column that two rows or more compete in."""
    found = {}
    for at, column in enumerate(zip(*rows, strict=True)):
        means = [spread.mean for spread in column if spread is not None]
        if len(means) > 1:
            found[at] = min(means) if at == FORGETTING else max(means)
    return found


def _caption(
    outcomes: Sequence[Outcome],
    published: Sequence[PublishedAccuracy],
    rivals: int,
    counts: set[int],
) -> str:
    parts = [
        "Accuracy in percent over the test images of all classes so far, after every task; "
        "forgetting in points, after the last."
    ]
    if rivals > 1:
        aside = "; joint, the ceiling, aside" if rivals < len(outcomes) else ""
        parts.append(f"Best in bold{aside}.")
    if max(counts) > 1:
        seeds = f"{max(counts)} seeds" if len(counts) == 1 else "n seeds"
        parts.append(f"Means over {seeds}, ± standard deviation.")
    if any(entry.read_off_plot for entry in published):
        parts.append("≈ read off a plot, to about ±0.3 point.")
    return " ".join(parts)


def _published_row(entry: PublishedAccuracy, count: int) -> Row:
    """Sessions are empty where they were not published for tasks like these."""
    sessions = entry.sessions if len(entry.sessions) == count else ()
    return Row(
        [
            published_label(entry.method),
            published_percent(entry.average, entry),
            published_percent(entry.last, entry),
            "",
            f"{entry.budget_mib:g}",
            "",
            *(map(_percent, sessions) if sessions else [""] * count),
        ],
        "published",
    )


def published_percent(value: float | None, entry: PublishedAccuracy) -> str:
    """A published accuracy, to as many digits as are known."""
    if value is None:
        return NOTHING
    return f"≈&#8239;{value:.1f}" if entry.read_off_plot else _percent(value)


def published_label(method: str) -> str:
    """The name of a published row, marked."""
    return f'{escape(method)} <span class="tag">published</span>'


def areas_table(
    series: Sequence[Sequence[Outcome]],
    published: Sequence[PublishedAreas],
    published_mibs: str,
) -> str:
    """AUC and APM of every method that was measured at several budgets.

    Args:
        series: outcomes of one label each, budgets ascending, at least two.
        published: of the protocol.
        published_mibs: the budgets of the published areas, in words.
    """
    rows = []
    for outcomes in series:
        mibs = [outcome.cell.budget_mib for outcome in outcomes]
        areas = Areas.of(mibs, [o.average for o in outcomes], [o.last for o in outcomes])
        if areas is None:
            continue  # something was not measured
        rows.append(
            Row(
                [
                    escape(outcomes[0].label),
                    ", ".join(map(mib, mibs)),
                    _area(areas.auc_a),
                    _area(areas.auc_l),
                    _per_mib(areas.apm_s),
                    _per_mib(areas.apm_e),
                ]
            )
        )
    for theirs in published:
        apm = (theirs.apm_start, theirs.apm_end)
        rows.append(
            Row(
                [
                    published_label(theirs.method),
                    published_mibs,
                    _area(theirs.auc_average),
                    _area(theirs.auc_last),
                    *(NOTHING if value is None else _per_mib(value) for value in apm),
                ],
                "published",
            )
        )
    caption = (
        "AUC-A and AUC-L: area under average and last accuracy (as fractions) over the budget in "
        "MiB; they compare only over the same budgets. APM-S and APM-E: percent of average "
        "accuracy per MiB at the smallest and the largest budget."
    )
    return table(["method", "over MiB", "AUC-A", "AUC-L", "APM-S", "APM-E"], rows, caption)


def _percent(value: float) -> str:
    return f"{value:.2f}"


def _spread(spread: Spread | None, *, with_deviation: bool) -> str:
    if spread is None:
        return NOTHING
    told = with_deviation and spread.deviation is not None
    return _percent(spread.mean) + (f" <small>± {spread.deviation:.2f}</small>" if told else "")


def _area(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _per_mib(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _bold(cell: str, is_best: bool) -> str:
    return f"<b>{cell}</b>" if is_best else cell
