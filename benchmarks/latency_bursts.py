"""What benchmarks of latency share: bursts that take turns, and how results are written."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecil.training.run import hardware, versions

PAUSE_S = 0.08
"""Threads of onnxruntime and torch go on spinning for up to 40 ms after a run."""


@dataclass(frozen=True)
class Bursts:
    """How long a contender runs when it is its turn."""

    seconds: float
    """At least this long,"""
    least: int
    """and at least so many times,"""
    warm_up: int
    """after so many runs that do not count."""


def median_ms(
    contenders: Mapping[str, Callable[[NDArray[np.uint8]], object]],
    pixels: NDArray[np.uint8],
    rounds: int,
    bursts: Bursts,
) -> dict[str, float]:
    """Median milliseconds a picture of each contender, in bursts that take turns.

    Args:
        contenders: what is timed, by name.
        pixels: (N, S, S, 3), what each is given.
        rounds: turns of each.
        bursts: how long a turn is.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            time.sleep(PAUSE_S)
            for _ in range(bursts.warm_up):
                contender(pixels)
            burst: list[float] = []
            while len(burst) < bursts.least or sum(burst) < bursts.seconds:
                start = time.perf_counter()
                contender(pixels)
                burst.append(time.perf_counter() - start)
            times_ms[name] += [1e3 * seconds / len(pixels) for seconds in burst]
    return {name: median(times) for name, times in times_ms.items()}


def write_results(
    script: str,
    title: str,
    about: str,
    rows: Sequence[Any],
    lines: Iterable[str],
    findings: Sequence[str],
    options: argparse.Namespace,
    load: float,
    **more: Any,
) -> None:
    """Write the results as JSON and as a table.

    Args:
        script: its name without an ending, which the files have, too.
        title: of the table.
        about: what its numbers are, a sentence or two.
        rows: named tuples.
        lines: the table, its heading first.
        findings: what follows from it.
        options: `rounds`, and the folder `out`.
        load: of the machine before the start.
        more: that the JSON file says.
    """
    packages = versions() | {name: version(name) for name in ("onnx", "onnxruntime")}
    machine = hardware(torch.device("cpu")) | {"load_before": load}
    content = more | {
        "rounds": options.rounds,
        "rows": [row._asdict() for row in rows],
        "findings": findings,
        "versions": packages,
        "hardware": machine,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = Path(options.out) / f"{script}.json"
    file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    made_with = ", ".join(f"{name} {number}" for name, number in packages.items())
    told = (
        f"{about} {machine['processor']}, {machine['cores']} cores, on which {load:.1f} other "
        f"programs were running (load before the start); {made_with}. Made by "
        f"`benchmarks/{script}.py`, which says what is compared."
    )
    page = [f"# {title}", "", told, "", *lines, "", *(f"- {line}" for line in findings)]
    file.with_suffix(".md").write_text("\n".join(page) + "\n")
