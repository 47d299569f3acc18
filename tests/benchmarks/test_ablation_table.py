"""The ablation's table says what its rows do, and takes every run once."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy_per_byte" / "ablation_table.py"
HEAD = "variant,budget,seed,average,last,exemplars\n"


def printed(*arguments: str | Path) -> list[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| lever")]


def test_means_deviations_and_changes_are_those_of_the_runs(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(
        HEAD
        + "replay,1MB,1,60,50,9 10\nreplay,1MB,2,62,50,9 12\nreplay,1MB,3,64,50,9 14\n"
        + "prior,1MB,1,61,53,9 10\nprior,1MB,3,66,49,9 14\nprior,1MB,7,70,60,9 12\n"
    )
    # The prior against replay: +1 and +2 on average, +3 and -1 at the end; seed 7 has no partner.
    assert printed(file) == [
        "| prior | 3 | 65.67 ± 4.51 | 54.00 ± 5.57 | +1.50 | +1.00 | 12 |",
        "| replay | 3 | 62.00 ± 2.00 | 50.00 ± 0.00 |  |  | 12 |",
    ]


def test_of_several_files_each_run_counts_once_and_the_last_one_holds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "replay,1MB,1,60,50,10\nmemo,2MB,1,40,30,5\n")
    (tmp_path / "b.csv").write_text(HEAD + "replay,1MB,1,61,51,11\n")
    lines = printed(tmp_path / "a.csv", tmp_path / "b.csv", "--to", tmp_path / "all.csv")
    assert lines == [
        "| replay | 1 | 61.00 | 51.00 |  |  | 11 |",
        "| memo | 1 | 40.00 | 30.00 |  |  | 5 |",
    ]
    assert (tmp_path / "all.csv").read_bytes().decode() == (
        HEAD + "replay,1MB,1,61,51,11\nmemo,2MB,1,40,30,5\n"
    )


def test_rows_that_were_measured_with_fewer_columns_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "replay,1MB,1,60,50,10\n")
    (tmp_path / "b.csv").write_text(HEAD.replace("last,", "last,more,") + "prior,1MB,1,6,5,7,1\n")
    printed(tmp_path / "a.csv", tmp_path / "b.csv", "--to", tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == (
        "variant,budget,seed,average,last,more,exemplars\n"
        "prior,1MB,1,6,5,7,1\nreplay,1MB,1,60,50,,10\n"
    )
