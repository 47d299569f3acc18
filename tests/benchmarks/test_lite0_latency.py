"""The benchmark of Lite0 says rightly what its rows come to."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.scripts import loaded


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with loaded("lite0_latency") as module:
        yield module


def test_claims_are_held_against_the_rows(benchmark: Any) -> None:
    def row(tasks: int, threads: int, *ms: float) -> object:
        of = dict(zip(benchmark.CONTENDERS, ms, strict=True))
        return benchmark.Row(128, tasks, threads, of, of, 30.0, {})

    found = benchmark.findings(
        [
            row(1, 1, 4.0, 3.0, 3.0, 3.5),  # single, bundle, single int8, bundle int8
            row(1, 2, 1.0, 9.0, 1.0, 9.0),  # claims are about one thread
            row(10, 1, 4.0, 6.3, 3.0, 5.0),
        ]
    )
    assert [line.rpartition(": ")[2] for line in found] == [
        "as claimed",
        "MISSED",
        "MISSED",
        "as claimed",
    ]
    assert found[0].startswith("128 px: bundle fp32 takes 0.75 times as long as single fp32")
    assert "10 tasks takes 2.10 times as long as with one" in found[2]


def test_a_row_becomes_a_line_of_the_table(benchmark: Any) -> None:
    ms = dict(zip(benchmark.CONTENDERS, (4.0, 3.0, 2.0, 1.0), strict=True))
    row = benchmark.Row(128, 10, 2, ms, {name: 20 * of for name, of in ms.items()}, 30.0, {})
    line = benchmark.table_line(row)
    assert line == "| 128 | 10 | 2 | 4.00 | 3.00 | 2.00 | 1.00 | 80 | 60 | 40 | 20 |"
    assert benchmark.HEADING.splitlines()[0].count("|") == line.count("|")
