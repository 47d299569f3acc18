"""The rows that ablation.py measured, as a file, and as a table for people.

    python benchmarks/accuracy_per_byte/ablation_table.py runs/ablation/results.csv [MORE.csv ...]
        [--to all.csv]

prints one line a lever and budget: means over the seeds, their standard deviation where there are
three or more, and what the lever changed against replay with the same seeds. Several files are
taken as one, and `--to` writes them as one.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""A line of results.csv by column; numbers too are strings once they were read."""

BASELINE = "replay"
HEADING = (
    "| lever | n | average | last | average against replay | last against replay | exemplars |\n"
    "|---|---|---|---|---|---|---|"
)


def read(file: Path) -> list[Row]:
    """All rows of a file; none if there is no such file."""
    return list(csv.DictReader(file.open(newline=""))) if file.exists() else []


def merged(rows: Iterable[Row]) -> list[Row]:
    """Rows without those that a later one replaces, by budget, lever and seed."""
    found = {(row["budget"], row["variant"], str(row["seed"])): row for row in rows}
    return list(found.values())


def write(file: Path, rows: Sequence[Row]) -> None:
    """Write a file of rows anew."""
    with file.open("w", newline="") as opened:
        columns = dict.fromkeys(name for row in rows for name in row)  # older rows have fewer
        writer = csv.DictWriter(opened, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: Sequence[Row]) -> str:
    """The table of one budget, in Markdown: best average first."""
    levers: dict[str, list[Row]] = {}
    for row in rows:
        levers.setdefault(row["variant"], []).append(row)
    baseline = {str(row["seed"]): row for row in levers.get(BASELINE, ())}

    def cells(lever: str) -> Iterable[str]:
        found = levers[lever]
        yield from (lever, str(len(found)))
        yield from (_spread([float(row[name]) for row in found]) for name in ("average", "last"))
        pairs = [(row, baseline[str(row["seed"])]) for row in found if str(row["seed"]) in baseline]
        for name in ("average", "last"):
            changes = [float(row[name]) - float(other[name]) for row, other in pairs]
            yield f"{mean(changes):+.2f}" if changes and lever != BASELINE else ""
        yield str(round(mean(int(row["exemplars"].split()[-1]) for row in found)))

    order = sorted(levers, key=lambda lever: -mean(float(row["average"]) for row in levers[lever]))
    return "\n".join([HEADING, *(f"| {' | '.join(cells(lever))} |" for lever in order)])


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {stdev(values):.2f}" if len(values) > 2 else ""
    return f"{mean(values):.2f}{deviation}"


def main() -> None:
    """Print the table of each budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--to", type=Path)
    asked = parser.parse_args()
    rows = merged(row for file in asked.files for row in read(file))
    rows.sort(key=lambda row: (row["budget"], row["variant"], int(row["seed"])))
    if asked.to:
        write(asked.to, rows)
    for budget in sorted({row["budget"] for row in rows}):
        print(f"\n{budget}\n\n{table([row for row in rows if row['budget'] == budget])}")


if __name__ == "__main__":
    main()
