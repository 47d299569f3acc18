"""How long a picture takes on a board: fp32, half precision, int8, and what the runtime chooses.

On the workstation, bundles with random weights, which time does not depend on, and this script
beside them:

    python benchmarks/board_times.py make board-times && scp -r board-times pi@raspberrypi.local:

On the board, where edgecil is installed (devices/README.md), five minutes during which nothing else
should run:

    ~/edgecil/bin/python board-times/board_times.py measure

It needs numpy, onnxruntime and Pillow there, no more. Every measurement is `bench` in a process of
its own; all take turns, so that a board that grows warm meets all of them; ms are medians of a
picture, the median over the rounds and how far these lie apart. The table is to be sent in.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROUNDS, SECONDS = 3, 3.0
MOST_THREADS = 4
LITE0 = "lite0-160px-1"
KINDS = ("resnet32-1", "resnet32-10", LITE0)
"""Networks, with the number of their blocks last."""


class Case(NamedTuple):
    """One measurement of `bench`."""

    bundle: Path
    threads: int
    compute: str
    """As `--compute` has it."""


def make(folder: Path, kinds: Sequence[str]) -> None:
    """Write bundles of these kinds in fp32 and int8, and this script."""
    folder.mkdir(parents=True)
    for kind in kinds:
        work = folder / "work"
        write_network(work, kind)
        for compute in ("fp32", "int8"):
            (work / f"{compute}.edgecil").rename(folder / f"{kind}-{compute}.edgecil")
        shutil.rmtree(work)
    shutil.copy(__file__, folder)


def write_network(folder: Path, kind: str) -> None:
    """A run with random weights, `run`, and its bundles, `fp32.edgecil` and `int8.edgecil`."""
    from edgecil_export import ExportRequest, export
    from latency_contenders import random_state
    from lite0_contenders import write_bundles

    (folder / "run").mkdir(parents=True)
    if kind == LITE0:
        write_bundles(folder, 160, 1)
        return
    random_state(int(kind.rpartition("-")[2])).write(folder / "run" / "state", None)
    for compute in ("fp32", "int8"):
        request = ExportRequest(compute=compute, force=True)
        export(folder / "run", folder / f"{compute}.edgecil", request)


def cases(bundles: Sequence[Path], cores: int) -> Iterator[Case]:
    """All measurements, in the order of the table."""
    for bundle in bundles:
        for threads in sorted({1, min(cores, MOST_THREADS)}):
            computes = ("int8",) if "int8" in bundle.stem else ("fp32", "fp16", "auto")
            yield from (Case(bundle, threads, compute) for compute in computes)


def measured(case: Case, seconds: float) -> dict[str, Any]:
    """What `bench` found, in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    words = ["bench", case.bundle, "--threads", case.threads, "--compute", case.compute]
    words += ["--seconds", seconds, "--json"]
    command = [sys.executable, "-m", "edgecil_devices", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(found: dict[Case, list[dict[str, Any]]]) -> Iterator[str]:
    """Markdown: the machine, and a line a measurement."""
    first = next(iter(found.values()))[0]["setting"]
    yield (
        f"{first['machine']}, {first['cores']} cores, profile {first['profile']}; "
        f"onnxruntime {first['onnxruntime']}, Python {first['python']}"
    )
    yield ""
    yield "| bundle | threads | --compute | computes in | arranged | ms | apart | peak MB |"
    yield "|---" * 8 + "|"
    for case, reports in found.items():
        times = [report["latency_ms"]["total"]["p50"] for report in reports]
        setting, memory = reports[-1]["setting"], reports[-1]["memory_mb"]
        cells = [case.bundle.stem, setting["threads"], case.compute, setting["compute"]]
        cells += [setting["arrangement"], f"{median(times):.2f}", f"{max(times) - min(times):.2f}"]
        yield f"| {' | '.join(map(str, cells))} | {'-' if memory is None else round(memory)} |"
    told = dict.fromkeys(note for reports in found.values() for note in reports[-1]["notes"])
    yield from ("", *(f"- {note}" for note in told)) if told else ()


def measure(folder: Path, rounds: int, seconds: float) -> None:
    """Measure all bundles of a folder, and print the table."""
    from edgecil_devices.limits import usable_cores

    bundles = sorted(folder.glob("*.edgecil"))
    if not bundles:
        raise SystemExit(f"{folder} has no bundles; make them on a workstation: see --help")
    found: dict[Case, list[dict[str, Any]]] = {}
    for number in range(1, rounds + 1):
        for case in cases(bundles, usable_cores()):
            print(f"round {number}/{rounds}: {case.bundle.name}", file=sys.stderr, flush=True)
            found.setdefault(case, []).append(measured(case, seconds))
    print("\n".join(table(found)))


def main() -> None:
    """Make the bundles, or measure them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="write the bundles, on a workstation")
    making.add_argument("folder", type=Path)
    making.add_argument("--only", choices=KINDS)
    measuring = verbs.add_parser("measure", help="measure them, on a board")
    measuring.add_argument("folder", type=Path, nargs="?", default=HERE)
    measuring.add_argument("--rounds", type=int, default=ROUNDS)
    measuring.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    asked = parser.parse_args()
    if asked.verb == "make":
        make(asked.folder, [asked.only] if asked.only else KINDS)
    else:
        measure(asked.folder, asked.rounds, asked.seconds)


if __name__ == "__main__":
    main()
