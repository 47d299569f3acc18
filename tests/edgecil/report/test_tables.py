"""Tables show the best in bold, and what was published as published."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from edgecil.networks.sources import Origin
from edgecil.published import PublishedAccuracy, published_accuracies, published_areas
from edgecil.report.accuracy_tables import areas_table, sessions_table
from edgecil.report.cells import Outcome, cells_of, outcomes_of
from edgecil.report.runs import read_runs
from edgecil.report.tables import (
    bytes_table,
    merges_table,
    most_confused,
    published_table,
    runs_table,
    settings_table,
)
from tests.edgecil.report.made_runs import write_run


class Rows(HTMLParser):
    """The rows of a table as lists of text; bold cells are **so**."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "b":
            self.rows[-1][-1] += "**"

    def handle_endtag(self, tag: str) -> None:
        if tag == "b":
            self.rows[-1][-1] += "**"

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def outcomes_in(folder: Path) -> list[Outcome]:
    return [outcome for cell in cells_of(read_runs([folder]).runs) for outcome in outcomes_of(cell)]


def changed_stage(run: Path, at: int, **changed: Any) -> Path:
    """The same run with something else in its results of a task."""
    results = json.loads((run / "results.json").read_text())
    results["stages"][at] |= changed
    (run / "results.json").write_text(json.dumps(results))
    return run


def test_the_best_of_the_rivals_is_bold_and_the_ceiling_never(tmp_path: Path) -> None:
    write_run(tmp_path / "memo", start=80, loss=5)  # 80, 77.5, 75: average 77.5, forgets 7.5
    write_run(tmp_path / "wa", method="wa", start=90, loss=20)  # 90, 80, 70: 80, forgets 30
    write_run(tmp_path / "joint", method="joint", start=99, loss=0)
    html = sessions_table(outcomes_in(tmp_path), [])
    head, wa, memo, joint = Rows(html).rows
    assert head == ["method", "average", "last", "forgetting", "MiB", "network", "1", "2", "3"]
    assert wa[1:4] == ["**80.00**", "70.00", "30.00"]
    assert wa[6:] == ["**90.00**", "**80.00**", "70.00"]
    assert memo[1:4] == ["77.50", "**75.00**", "**7.50**"]
    assert memo[6:] == ["80.00", "77.50", "**75.00**"]
    assert joint[1:4] == ["99.00", "99.00", "0.00"]
    assert "ceiling, aside" in html


def test_a_single_run_has_no_rival_and_no_bold(tmp_path: Path) -> None:
    write_run(tmp_path / "memo")
    html = sessions_table(outcomes_in(tmp_path), [])
    assert "<b>" not in html
    assert "bold" not in html


def test_seeds_show_their_deviation(tmp_path: Path) -> None:
    for seed, start in ((1, 80.0), (2, 82.0), (3, 87.0)):
        write_run(tmp_path / str(seed), seed=seed, start=start, loss=0)
    _, row = Rows(sessions_table(outcomes_in(tmp_path), [])).rows
    assert row[1] == "83.00± 3.61"  # of 80, 82, 87: the root of (9 + 1 + 16) / 2
    assert row[6] == "83.00"


def test_published_rows_are_marked_and_read_off_ones_have_one_decimal(tmp_path: Path) -> None:
    write_run(tmp_path / "memo")
    printed = PublishedAccuracy(
        protocol="p", method="wa", budget_mib=8, average=60.25, last=50, source="s",
        sessions=(80, 60, 40.75),
    )  # fmt: skip
    plotted = PublishedAccuracy(
        protocol="p", method="der", budget_mib=8, average=60.2, last=50, source="s",
        read_off_plot=True,
    )  # fmt: skip
    html = sessions_table(outcomes_in(tmp_path), [printed, plotted])
    *_, wa, der = Rows(html).rows
    assert wa[0] == "wapublished"
    assert wa[1:] == ["60.25", "50.00", "", "8", "", "80.00", "60.00", "40.75"]
    assert der[1:3] == ["≈\u202f60.2", "≈\u202f50.0"]
    assert html.count('class="published"') == 2


def test_areas_are_those_under_the_budgets_that_were_run(tmp_path: Path) -> None:
    write_run(tmp_path / "small", budget_bytes=2 * 2**20, start=50, loss=0)
    write_run(tmp_path / "large", budget_bytes=6 * 2**20, start=70, loss=0)
    published = published_areas("cifar100-b0-inc10")
    html = areas_table([outcomes_in(tmp_path)], published, "7.6, 23.5")
    _, memo, *others = Rows(html).rows
    assert memo == ["memo", "2.00, 6.00", "2.40", "2.40", "25.00", "11.67"]
    assert ["memopublished", "7.6, 23.5", "10.85", "9.03", "7.18", "3.06"] in others


def test_bytes_are_told_by_owner_and_against_the_budget(tmp_path: Path) -> None:
    write_run(tmp_path / "memo", budget_bytes=4_000_000)
    _, row = Rows(bytes_table(cells_of(read_runs([tmp_path]).runs))).rows
    assert row[2:7] == ["0.250", "1.500", "0.004", "2.000", "0.000"]
    total = 2**18 + 3 * 2**19 + 2**12 + 2**21 + 100
    assert row[7].replace(" ", "") == f"{total}bytes"
    assert row[9] == f"{100 * total / 4_000_000:.1f}\u202f%"


def test_settings_are_told_once_where_they_are_shared(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", method="der", codec="raw")
    shared, table = settings_table(cells_of(read_runs([tmp_path]).runs))
    assert shared["epochs"] == "the recipe's"
    assert shared["budget"] == "8 388 608 bytes"
    assert Rows(table).rows == [
        ["method", "exemplars as", "seeds"],
        ["der", "raw", "1993"],
        ["memo", "webp-lossless", "1993"],
    ]


def test_settings_of_pretrained_weights_and_of_equal_work_are_told(tmp_path: Path) -> None:
    origin = Origin("somebody's weights", "MIT", "photos", "0123456789abcdef")
    write_run(tmp_path / "a", origin=origin, weights="/home/me/w.pt", images_a_task=40_000)
    shared, _ = settings_table(cells_of(read_runs([tmp_path]).runs))
    assert "somebody&#x27;s weights, sha256 01234567" in shared.values()
    assert shared["epochs"] == "as many as show 40,000 pictures a task"
    assert not {"weights", "time_seconds", "time seconds", "latency_ms"} & set(shared)


def test_what_is_confused_most_is_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", sizes=(2, 1))
    (folder / "confusion.csv").write_text("6,4,0\n1,9,0\n0,0,10\n")
    told = most_confused(read_runs([folder]).first)
    assert re.sub("&#8239;", " ", told) == (
        "Most confused: class-00 as class-01 40 %, class-01 as class-00 10 %."
    )
    (folder / "confusion.csv").write_text("6,0,0\n0,9,0\n0,0,0\n")
    assert most_confused(read_runs([folder]).first) == "Nothing is confused."


def test_every_published_number_has_a_numbered_source() -> None:
    entries = published_accuracies("cifar100-b0-inc5")
    html, sources = published_table(entries)
    assert len(Rows(html).rows) == 1 + len(entries)
    assert sources.count("<li>") == len({entry.source for entry in entries})


def test_a_training_time_is_told_as_everywhere(tmp_path: Path) -> None:
    """Seconds are rounded to a minute where they would be sixty."""
    run = changed_stage(write_run(tmp_path / "run", sizes=(2,)), 0, seconds=59.7)
    _, row = Rows(runs_table(read_runs([run]).runs)).rows
    assert row[:3] == ["run", "1993", "1 min"]


def test_a_merge_is_told_over_tasks_that_were_measured_before_and_after(tmp_path: Path) -> None:
    """The second of them has no pictures any more: 90 -> 80 is what is known."""
    merge = {"blocks": [[0, 1]], "before": [90.0, 70.0], "after": [80.0, None]}
    tasks = {"merge": merge, "block_tasks": [[0, 1], [2]]}
    run = changed_stage(write_run(tmp_path / "run"), 2, **tasks)
    _, row = Rows(merges_table(cells_of(read_runs([run]).runs))).rows
    assert row == ["memo", "3", "1-2", "90.0", "80.0", "1-2 | 3"]
    changed_stage(run, 2, merge=merge | {"before": [None, 70.0]})
    _, row = Rows(merges_table(cells_of(read_runs([run]).runs))).rows
    assert row[3:5] == ["\u2013", "\u2013"]
