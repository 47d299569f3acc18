"""The benchmark of latency runs at a tiny size, and says rightly what its rows come to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scripts import FOLDER, loaded

SCRIPT = FOLDER / "inference_latency.py"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with loaded("inference_latency") as module:
        yield module


def test_every_contender_is_measured_and_agrees(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--short", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "inference_latency.json").read_text())
    (row,) = results["rows"]
    assert (row["blocks"], row["threads"], row["batch"]) == (1, 1, 2)
    assert set(row["ms"]) == {"eager torch", "merged", "runtime", "merged int8", "runtime int8"}
    table = (tmp_path / "inference_latency.md").read_text()
    assert f"| {row['ms']['runtime']:.2f} |" in table


def test_claims_are_held_against_the_rows(benchmark: Any) -> None:
    def row(threads: int, **ms: float) -> object:
        names = {name: ms[name.replace(" ", "_")] for name in ("merged", "runtime", "runtime int8")}
        return benchmark.Row(10, threads, 1, names | {"eager torch": ms["torch"]}, 0.5)

    found = benchmark.findings(
        [
            row(1, torch=25, merged=9, runtime=10, runtime_int8=5.5),
            row(2, torch=20, merged=10, runtime=5, runtime_int8=2),
        ]
    )
    assert [line.rpartition(": ")[2] for line in found] == [
        "as claimed",
        "as claimed",
        "MISSED",
        "as claimed",
    ]
    assert "runtime is 2.50 times as fast as eager torch" in found[0]


def test_a_straight_line_is_found_and_what_is_off_it(benchmark: Any) -> None:
    on_it = [(k, 1.0 + 0.5 * k) for k in (1, 2, 5, 10)]
    assert benchmark.straight_line(on_it).startswith("1.00 ms and 0.500 ms a block, off by 0 %")
    assert "off by 0 %" not in benchmark.straight_line([*on_it, (20, 16.5)])


def test_operations_are_counted_by_hand(benchmark: Any) -> None:
    """ResNet32 has 69 million multiplications a picture of 32x32 (He et al. 2016: 0.69e8)."""
    network = benchmark.random_state(1).network()
    assert benchmark.operations(network) / 2 == pytest.approx(69e6, rel=0.02)
