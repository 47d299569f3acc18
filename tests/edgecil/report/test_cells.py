"""Runs that differ in the seed alone are one cell; labels tell what else differs."""

import shutil
from pathlib import Path

import pytest

from edgecil.errors import RunError
from edgecil.evaluation.measures import Spread
from edgecil.report.cells import Cell, budget_title, cells_of, outcomes_of
from edgecil.report.runs import read_runs
from edgecil.training.settings import Source
from tests.edgecil.report.made_runs import write_run


def cells_in(folder: Path) -> list[Cell]:
    return cells_of(read_runs([folder]).runs)


def mean(spread: Spread | None) -> float:
    assert spread is not None
    return spread.mean


def test_seeds_of_one_setting_are_averaged(tmp_path: Path) -> None:
    write_run(tmp_path / "b", seed=1994, start=80)
    write_run(tmp_path / "a", seed=1993, start=90)
    (cell,) = cells_in(tmp_path)
    assert cell.seeds == "1993, 1994"
    (outcome,) = outcomes_of(cell)
    # Sessions of 90: 90, (80 + 90) / 2, (70 + 80 + 90) / 3; of 80 ten less.
    assert [mean(session) for session in outcome.sessions] == pytest.approx([85, 80, 75])
    assert mean(outcome.average) == pytest.approx(80)
    assert outcome.average is not None
    assert outcome.average.deviation == pytest.approx(50**0.5)
    assert mean(outcome.last) == pytest.approx(75)
    # After the third task the first lost 20 since its best, the second 10.
    assert [mean(spread) for spread in outcome.forgetting] == pytest.approx([0, 10, 15])
    assert cell.matrix == [[85], [75, 85], [65, 75, 85]]


def test_methods_go_from_the_floor_to_the_ceiling_and_budgets_upwards(tmp_path: Path) -> None:
    for method in ("joint", "memo", "finetune", "podnet"):
        for budget in (9_000_000, 8_000_000):
            write_run(tmp_path / f"{method}-{budget}", method=method, budget_bytes=budget)
    cells = cells_in(tmp_path)
    assert [cell.label for cell in cells[::2]] == ["finetune", "memo", "joint", "podnet"]
    assert [cell.settings.budget_bytes for cell in cells[:2]] == [8_000_000, 9_000_000]


def test_a_label_says_in_what_the_cells_of_a_method_differ(tmp_path: Path) -> None:
    write_run(tmp_path / "a", codec="webp:80")
    write_run(tmp_path / "b", codec="raw", epochs=3)
    write_run(tmp_path / "c", method="der")
    labels = [cell.label for cell in cells_in(tmp_path)]
    assert labels == ["der", "memo, raw, epochs 3", "memo, webp:80, epochs default"]


def test_what_a_time_or_a_file_came_to_counts_and_not_how_it_was_asked_for(tmp_path: Path) -> None:
    """An older edgecil kept neither a time nor a latency."""
    write_run(tmp_path / "a", seed=1, weights="/a/w.pt")
    write_run(tmp_path / "b", seed=2, weights="/b/w.pt", time_seconds=0.0, latency_ms=0.0)
    (cell,) = cells_in(tmp_path)
    assert cell.seeds == "1, 2"


def test_runs_of_one_seed_are_no_two_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    other = (Source("made", 0.5, "f00d"),)
    write_run(tmp_path / "b", sources=other)
    assert [cell.label for cell in cells_in(tmp_path)] == ["memo, holdout 0.2", "memo, holdout 0.5"]
    shutil.copytree(tmp_path / "b", tmp_path / "backup of b")
    with pytest.raises(RunError, match=r"b and .* have the same settings and seed; leave one"):
        cells_in(tmp_path)


def test_a_network_for_each_budget_makes_one_series(tmp_path: Path) -> None:
    write_run(tmp_path / "small", budget_bytes=8_000_000, backbone="convnet2")
    write_run(tmp_path / "large", budget_bytes=24_000_000, backbone="resnet32")
    assert [cell.label for cell in cells_in(tmp_path)] == ["memo", "memo"]


def test_what_the_planner_chooses_for_each_budget_makes_one_series(tmp_path: Path) -> None:
    write_run(tmp_path / "a", budget_bytes=8_000_000, codec="webp:50", precision="int8")
    write_run(tmp_path / "b", budget_bytes=24_000_000, codec="webp:75", max_blocks=5)
    assert [cell.label for cell in cells_in(tmp_path)] == ["memo", "memo"]
    write_run(tmp_path / "c", budget_bytes=24_000_000, codec="raw", max_blocks=5)
    assert [cell.label for cell in cells_in(tmp_path)] == [
        "memo, raw",
        "memo, webp:50",
        "memo, webp:75",
    ]


def test_seeds_of_one_time_are_one_cell_though_machines_differ(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=1, time_seconds=3600.0, images_a_task=40_000)
    write_run(tmp_path / "b", seed=2, time_seconds=3600.0, images_a_task=41_000)
    (cell,) = cells_in(tmp_path)
    assert (cell.label, cell.seeds) == ("memo", "1, 2")
    write_run(tmp_path / "c", seed=2, time_seconds=7200.0, images_a_task=81_000)
    labels = ["memo, images a task by --time 1 h", "memo, images a task by --time 2 h"]
    assert [cell.label for cell in cells_in(tmp_path)] == labels


def test_two_networks_at_one_budget_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "small", backbone="convnet2")
    write_run(tmp_path / "large", backbone="resnet32")
    assert [cell.label for cell in cells_in(tmp_path)] == ["memo, convnet2", "memo, resnet32"]


def test_the_nearest_mean_has_a_row_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "run", method="icarl", nearest_mean=2.0)
    linear, nearest = outcomes_of(cells_in(tmp_path)[0])
    assert (linear.label, nearest.label) == ("icarl, linear", "icarl, nearest mean")
    assert mean(nearest.average) == pytest.approx(mean(linear.average) + 2)
    assert nearest.forgetting == ()


def test_a_run_whose_pictures_are_not_mirrored_is_no_other_seed_of_one_whose_are(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "a", seed=1993)
    write_run(tmp_path / "b", seed=1994, mirrors=False)
    assert {cell.label for cell in cells_in(tmp_path)} == {"memo, mirrored", "memo, not mirrored"}


def test_budgets_that_would_read_alike_are_named_in_bytes_too() -> None:
    eight = 8_000_000 / 2**20
    near = 7_998_016 / 2**20
    assert budget_title(eight, (eight, 5.0)) == "7.63 MiB"
    assert budget_title(near, (near, eight)) == "7.63 MiB (7,998,016 bytes)"
    assert budget_title(eight, (near, eight)) == "7.63 MiB (8,000,000 bytes)"
