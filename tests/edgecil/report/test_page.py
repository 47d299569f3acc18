"""The page stands alone, shows every part, and leaves its plots beside it."""

import json
import re
from collections import Counter
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from PIL import Image

from edgecil.errors import UsageError
from edgecil.evaluation.measures import Spread
from edgecil.report import page as page_module
from edgecil.report.cells import cells_of, outcomes_of
from edgecil.report.report import write_report
from edgecil.report.runs import read_runs
from edgecil.training.settings import Source
from tests.crash.recording import left_by_a_dead_process
from tests.edgecil.report.made_runs import write_run


def test_the_page_needs_nothing_from_elsewhere(report_page: Path) -> None:
    html = report_page.read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "<script" not in html
    assert "@import" not in html


def test_every_id_is_there_once_and_every_link_has_its_end(report_page: Path) -> None:
    html = report_page.read_text()
    ids = Counter(re.findall(r'\bid="([^"]*)"', html))
    assert [name for name, times in ids.items() if times > 1] == []
    ends = set(re.findall(r'href="#([^"]*)"', html)) | set(re.findall(r"url\(#([^)]*)\)", html))
    assert ends <= set(ids)


def test_every_part_is_on_the_page(report_page: Path) -> None:
    html = report_page.read_text()
    titles = re.findall("<h2>(.*?)</h2>", html)
    assert titles == [
        "Accuracy",
        "Accuracy and memory",
        "Bytes",
        "Forgetting",
        "Accuracy by task",
        "Confusion",
        "Settings",
        "Runs, versions, hardware",
        "Published numbers",
    ]
    for said in ("AMD EPYC", "webp-lossless", "icarl, nearest mean", "arXiv 2205.13218"):
        assert said in html
    assert "dashed: published" in html


def test_names_of_folders_are_text_and_not_markup(report_page: Path) -> None:
    html = report_page.read_text()
    assert "memo&lt;i&gt;-8000000" in html
    assert "<i>-" not in html


def test_every_plot_is_a_file_as_svg_and_as_png(report_page: Path) -> None:
    plots = sorted(path.name for path in (report_page.parent / "plots").iterdir())
    svgs = [name.removesuffix(".svg") for name in plots if name.endswith(".svg")]
    assert sorted([f"{name}.{ending}" for name in svgs for ending in ("svg", "png")]) == plots
    kinds = Counter(name.partition("-")[0] for name in svgs)
    # Three cells at three budgets; one of them did not record its confusion.
    per_cell = {"bytes": 3, "tasks": 3, "confusion": 2}
    assert kinds == per_cell | {"accuracy": 3, "forgetting": 3, "memory": 2}
    for name in svgs:
        folder = report_page.parent / "plots"
        assert ElementTree.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
        with Image.open(folder / f"{name}.png") as image:
            assert image.size[0] == 920


def test_plots_have_words_for_those_who_cannot_see_them(report_page: Path) -> None:
    html = report_page.read_text()
    assert html.count("<svg") == len(
        re.findall(r'<div role="img" aria-label="[^"]{10,}"><svg', html)
    )


def test_runs_without_confusion_are_named(report_page: Path) -> None:
    assert "Not recorded by the runs of memo" in report_page.read_text()


def test_runs_at_one_budget_without_published_numbers_have_no_curve(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_report([tmp_path / "run"], tmp_path / "report.html", tmp_path / "plots")
    html = (tmp_path / "report.html").read_text()
    assert "All runs have one budget" in html
    assert "Published numbers" not in html
    assert not list((tmp_path / "plots").glob("memory-*"))


def test_the_same_runs_give_the_same_page_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the day, which midnight may change between the two."""
    days = iter([date(2026, 12, 31), date(2027, 1, 1)])
    monkeypatch.setattr(page_module, "date", SimpleNamespace(today=lambda: next(days)))
    write_run(tmp_path / "run")
    left = left_by_a_dead_process(tmp_path / "a.html")
    for name in ("a", "b"):
        write_report([tmp_path / "run"], tmp_path / f"{name}.html", tmp_path / name)
    first, second = ((tmp_path / f"{name}.html").read_text() for name in ("a", "b"))
    assert first.replace("2026-12-31", "2027-01-01") == second != first
    assert not left.exists()
    for path in (tmp_path / "a").glob("*.svg"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_best_is_best_of_those_that_were_measured(tmp_path: Path) -> None:
    for method in ("memo", "der", "wa"):
        folder = write_run(tmp_path / method, method=method, start=80 + len(method))
        if method == "der":
            results = json.loads((folder / "results.json").read_text())
            results["stages"][2]["measured_classes"] = 5
            (folder / "results.json").write_text(json.dumps(results))
    write_report([tmp_path], tmp_path / "report.html", tmp_path / "plots")
    # Memo's average is (84 + 79 + 74) / 3.
    assert "memo is best of 2 with 79.00&#8239;% average" in (tmp_path / "report.html").read_text()


def test_a_page_can_not_lie_where_a_folder_is_or_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_report([tmp_path], tmp_path, tmp_path / "plots")
    with pytest.raises(UsageError, match="does not exist; make it"):
        write_report([tmp_path], tmp_path / "no" / "report.html", tmp_path / "plots")
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_runs_that_were_not_measured_wholly_has_dashes(tmp_path: Path) -> None:
    for budget in (8_000_000, 16_000_000):
        folder = write_run(tmp_path / f"run-{budget}", budget_bytes=budget)
        results = json.loads((folder / "results.json").read_text())
        for stage in results["stages"][1:]:
            stage |= {"measured_classes": 0, "accuracy": None}
            stage["accuracy_by_task"] = [None] * len(stage["accuracy_by_task"])
        (folder / "results.json").write_text(json.dumps(results))
    write_report([tmp_path], tmp_path / "report.html", tmp_path / "plots")
    html = (tmp_path / "report.html").read_text()
    assert "not all classes were measured" in html
    assert ">nan" not in html.lower()
    assert "<td>90.00</td>" in html


@pytest.mark.parametrize(("budget_bytes", "stands"), [(7_998_016, True), (7_600_000, False)])
def test_published_numbers_stand_only_at_the_bytes_that_they_were_measured_at(
    tmp_path: Path, budget_bytes: int, stands: bool
) -> None:
    """The papers' 7.6 are 7,998,016 bytes; 7.6 MB are 5 % less."""
    source = (Source("cifar100", 0.2, "f00d"),)
    write_run(tmp_path / "run", sizes=(10,) * 10, sources=source, budget_bytes=budget_bytes)
    write_report([tmp_path / "run"], tmp_path / "report.html", tmp_path / "plots")
    html = (tmp_path / "report.html").read_text()
    assert ("Published for memo at 7.6 MiB" in html) == stands
    accuracy = html[html.index('id="accuracy"') : html.index('id="memory"')]
    assert ('class="published"' in accuracy) == stands


def test_a_run_that_lost_early_results_is_finished_all_the_same(tmp_path: Path) -> None:
    for seed in (1993, 1994):
        folder = write_run(tmp_path / str(seed), seed=seed)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"stages": results["stages"][2:]}))
    write_report([tmp_path], tmp_path / "report.html", tmp_path / "plots")
    html = (tmp_path / "report.html").read_text()
    assert "after task 1, 2 not all classes were measured, as the pictures of some" in html
    (cell,) = cells_of(read_runs([tmp_path]).runs)
    assert cell.matrix == [[None], [None, None], results["stages"][2]["accuracy_by_task"]]
    (outcome,) = outcomes_of(cell)
    assert outcome.sessions == (None, None, Spread(results["stages"][2]["accuracy"], 0.0, 2))
    assert (outcome.average, outcome.forgetting) == (None, (None, None, None))
